"""`deploy/nats-health`, in a container as compose.yaml has it: a nats-server whose disk was full writes again."""

import asyncio
from contextlib import suppress

import pytest
from docker.types import Healthcheck, Mount

from harness.connection import connection
from harness.engine import LABEL
from harness.images import Images, program
from harness.paths import ROOT
from harness.ports import free_port
from harness.wait import eventually

NATS = "nats:2.15-alpine"
SECOND = 10**9
SETTINGS = "/etc/deckwatch"
USER = "65532:65532"


@pytest.fixture
def nats(machine_engine):
    """A nats-server on a small disk, and a container beside it that fills the disk, and keeps it where nobody else does."""
    client, run = machine_engine.client, machine_engine.run_id
    images = Images(client, run)
    images.provide(NATS, program("nats-server"))
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=200m,uid=65532,gid=65532"}
    volume = client.volumes.create(f"deckwatch-test-{run}-disk", driver="local", driver_opts=options)
    mounts = [Mount("/data", volume.name)]
    beside = machine_engine.run(["sleep", "1000"], mounts=mounts, user=USER)
    for name in ("nats.conf", "nats-health"):
        mounts.append(Mount(f"{SETTINGS}/{name}", str(ROOT / "deploy" / name), type="bind", read_only=True))
    check = ["CMD", "sh", f"{SETTINGS}/nats-health", "/data", "127.0.0.1:8222"]
    port = free_port()
    server = client.containers.create(
        NATS,
        ["nats-server", "--config", f"{SETTINGS}/nats.conf", "--addr", "0.0.0.0", "--http_port", "8222", "--store_dir", "/data"],
        user=USER,
        mounts=mounts,
        ports={"4222/tcp": ("127.0.0.1", port)},
        restart_policy={"Name": "unless-stopped"},
        healthcheck=Healthcheck(test=check, interval=SECOND, timeout=5 * SECOND, retries=3),
        labels={LABEL: run},
    )
    server.start()
    yield server, beside, f"nats://127.0.0.1:{port}"
    machine_engine.remove_all()
    volume.remove()
    images.close()


async def write(url: str) -> int:
    """The sequence at which a message was stored."""
    async with connection(url, timeout=2) as client:
        stream = client.jetstream(timeout=2)
        await stream.add_stream(name="KEPT", subjects=["kept"], max_bytes=1 << 26)
        return (await stream.publish("kept", bytes(3000))).seq


def stored(url: str) -> int:
    try:
        return asyncio.run(write(url))
    except Exception as error:  # nats-py raises many kinds
        raise AssertionError(repr(error)) from None


# It is on the machine's own engine, as its port is published there: what else is watched there must stand still.
@pytest.mark.alone
@pytest.mark.timeout(180)
def test_it_writes_again_when_there_is_room_again(nats):
    server, beside, url = nats

    def health() -> dict:
        server.reload()
        return server.attrs["State"]["Health"]

    assert eventually(lambda: stored(url), 20, "a message is stored") == 1
    eventually(lambda: health()["Status"] == "healthy", 20, "it is healthy", every=0.5)
    assert beside.exec_run(["sh", "-c", "dd if=/dev/zero of=/data/filler bs=1M"]).exit_code != 0, "the disk is full"

    def told() -> bool:
        with suppress(AssertionError):
            stored(url)  # As long as the last page of the file has room.
        said = health()["Log"][-1]
        return said["ExitCode"] == 1 and "could not be written" in said["Output"]

    eventually(told, 40, "it tells what it could not write", every=0.5)
    started = server.attrs["State"]["StartedAt"]
    beside.exec_run(["rm", "/data/filler"])
    assert eventually(lambda: stored(url), 90, "a message is stored again", every=0.5) > 1, "what it had is still there"
    eventually(lambda: health()["Status"] == "healthy", 20, "it is healthy again", every=0.5)
    assert server.attrs["State"]["StartedAt"] > started
