"""`deckwatch up`: everything in one command, and nothing left of it after Ctrl-C."""

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from harness import http, stream, tree
from harness.engine import STUBBORN
from harness.order import assert_ordered
from harness.paths import BINARY, environment
from harness.ports import free_port, listening
from harness.process import Process
from harness.program import Result, deckwatch
from harness.servers import NatsServer, RedisServer
from harness.state import FROM_ENGINE, differences, from_json
from harness.store import Store
from harness.wait import eventually, promised


@dataclass
class Up:
    process: Process
    data: Path
    admin: int
    servers: dict[int, str] = field(default_factory=dict)

    def note_servers(self) -> dict[int, str]:
        """Its servers as they run now, to be ended if it leaves them behind."""
        self.servers |= tree.descendants(self.process.pid)
        return self.servers

    @property
    def servers_named(self) -> bool:
        file = self.data / "up.json"
        return file.exists() and bool(json.loads(file.read_text())["redis"])

    @property
    def redis(self) -> redis.Redis:
        url = json.loads((self.data / "up.json").read_text())["redis"]
        return redis.Redis.from_url(url, decode_responses=True, socket_timeout=5)

    @property
    def nats(self) -> str:
        return json.loads((self.data / "up.json").read_text())["nats"]

    def ask(self, *argv: str) -> Result:
        """A command that finds the servers by the data folder alone."""
        return deckwatch(*argv, "--data-dir", str(self.data))

    def ctrl_c(self) -> int:
        """As a terminal does it: to the whole foreground group, servers included."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(20)


@pytest.fixture
def up(tmp_path, engine, binary):
    """Starts `up` with a data folder of the test's own, and anything to add."""
    started: list[Up] = []

    def start(*flags: str, nats_port: int = 0, data: Path | None = None) -> Up:
        data, admin = data or tmp_path / "data", free_port()
        argv = [str(BINARY), "up", "--data-dir", str(data), "--engine", engine.address, "--node", "here"]
        argv += ["--admin", f"127.0.0.1:{admin}"]
        if "--nats" not in flags:
            argv += ["--nats-port", str(nats_port), "--redis-port", "0"]
        process = Process(f"up-{len(started)}", [*argv, *flags], tmp_path, environment())
        started.append(Up(process.start(), data, admin))
        return started[-1]

    yield start
    for one in started:
        print(one.process.tail())
        if one.process.running:
            one.note_servers()
        one.process.stop()
    for one in started:
        for pid in tree.still_there(one.servers):
            os.kill(pid, signal.SIGKILL)


def assert_ps_is_right(up: Up, engine) -> bool:
    assert up.process.running, up.process.tail()
    # Before it says where its servers are, a command asks the usual ports, where another installation may be.
    assert up.servers_named, "its servers are not named yet"
    result = up.ask("ps", "-o", "json")
    assert result.code == 0 and result.json["revision"] is not None, result
    items = {item["id"]: from_json(item) for item in result.json["items"]}
    truth = engine.states("here")
    assert items.keys() == truth.keys()
    found = [
        text for container_id in truth for text in differences(items[container_id], truth[container_id], FROM_ENGINE)
    ]
    assert not found, found
    return True


def assert_nothing_is_left(processes: dict[int, str], data: Path) -> None:
    assert not tree.still_there(processes) and not tree.naming(str(data))


def test_up_and_down_and_up_again(up, containers):
    containers.run(STUBBORN)
    containers.run(["sh", "-c", "exit 3"]).wait()
    port = free_port()
    began = time.monotonic()
    first = up(nats_port=port)
    promised(lambda: assert_ps_is_right(first, containers), 5, "a correct ps", began)
    eventually(lambda: http.readiness(first.admin)[0] == 200, 10, "up is ready")
    eventually(lambda: "Ctrl-C" in first.process.stdout.read_text(), 10, "its screen")
    screen = first.process.stdout.read_text()
    assert "ps" in screen and "watch" in screen and "\x1b" not in screen, "it says what to try next"

    container = containers.run(STUBBORN)
    container.kill()
    eventually(lambda: assert_ps_is_right(first, containers), 10, "ps follows")
    children = first.note_servers()
    assert len(children) >= 2, "nats-server and redis-server are its children"
    stamps = stream.read(f"nats://127.0.0.1:{port}")
    assert first.ctrl_c() == 0
    assert_nothing_is_left(children, first.data)
    assert not listening(port) and not listening(first.admin)

    container.remove()
    containers.run(STUBBORN)
    began = time.monotonic()
    second = up(nats_port=port)
    promised(lambda: assert_ps_is_right(second, containers), 5, "a correct ps, again", began)
    entries = stream.read(f"nats://127.0.0.1:{port}")
    stream.assert_same_story(stamps, entries)
    assert assert_ordered(entries, "here").epochs == [1, 2]
    history = second.ask("history", container.id, "-o", "json")
    assert history.code == 0 and history.lines[-1]["container"]["status"] == "removed", history
    children = second.note_servers()
    second.process.signal(signal.SIGTERM)
    assert second.process.wait(20) == 0
    assert_nothing_is_left(children, second.data)


def test_a_change_by_hand_is_put_right(up, containers):
    container = containers.run(STUBBORN)
    one = up("--interval", "1s")
    promised(lambda: assert_ps_is_right(one, containers), 5, "a correct ps")
    eventually(lambda: http.readiness(one.admin)[0] == 200, 10, "up is ready")
    with one.redis as client:
        store = Store(client, "here")
        assert store.fields(container.id)["name"] == container.name
        client.hset(store.key(f"container:{container.id}"), "name", "other")
        promised(lambda: store.fields(container.id)["name"] == container.name, 3, "its name is right again")

    def named() -> bool:
        answer = one.ask("gaps", "-o", "json")
        assert answer.code == 0, answer
        found = [item["correction"] for item in answer.json["items"] if item["type"] == "correction"]
        return any(item.get("container_id") == container.id and "name" in item["fields"] for item in found)

    eventually(named, 10, "`gaps` names it")
    assert http.samples(one.admin)['deckwatch_drifts_total{kind="edited_store"}'] > 0


def test_two_with_one_data_folder(up, containers):
    first = up()
    promised(lambda: assert_ps_is_right(first, containers), 5, "a correct ps")
    second = up(data=first.data)
    assert second.process.wait(15) == 1, second.process.tail()
    lines = second.process.stderr.read_text().splitlines()
    assert lines and str(first.data) in lines[-1], lines
    assert assert_ps_is_right(first, containers), "the first one is not disturbed"


def test_after_a_kill(up, containers):
    """`kill -9` of it all: what was there is found again, and right."""
    first = up()
    promised(lambda: assert_ps_is_right(first, containers), 5, "a correct ps")
    first.note_servers()
    first.process.kill()
    container = containers.run(STUBBORN)
    second = up(data=first.data)
    eventually(lambda: assert_ps_is_right(second, containers), 30, "a correct ps after a kill")
    assert container.id in second.ask("ps", "-o", "json").out
    children = second.note_servers()
    assert second.ctrl_c() == 0
    assert_nothing_is_left(children, second.data)


def test_with_servers_that_run_already(up, containers, tmp_path):
    nats, redis = NatsServer(tmp_path), RedisServer(tmp_path)
    nats.start()
    redis.start()
    try:
        containers.run(STUBBORN)
        one = up("--nats", nats.url, "--redis", redis.url)
        promised(lambda: assert_ps_is_right(one, containers), 5, "a correct ps")
        assert not tree.descendants(one.process.pid), "it needs no servers of its own"
        assert one.ctrl_c() == 0
        assert nats.process.running and redis.process.running
    finally:
        nats.process.stop()
        redis.process.stop()


@pytest.fixture
def small_disk(tmp_path):
    """A disk that holds little, and its bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(path: Path) -> None:
    with pytest.raises(OSError, match="No space left"), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))


def test_a_disk_was_full(up, containers, small_disk):
    """It says so, and goes on by itself when there is room again: nats-server alone would not."""
    data = small_disk / "data"
    one = up("--raw-max-bytes", "32000000", "--state-max-bytes", "32000000", data=data)
    eventually(lambda: assert_ps_is_right(one, containers), 20, "a correct ps")
    before = stream.read(one.nats)
    filler = small_disk / "filler"
    fill(filler)

    def told() -> bool:
        container = containers.run(["true"])
        container.remove(force=True)
        status, reason = http.readiness(one.admin)
        return status == 503 and "make room" in reason and "no space left" in reason

    eventually(told, 60, "that nothing can be written", every=0.5)
    filler.unlink()
    container = containers.run(STUBBORN)
    eventually(lambda: http.readiness(one.admin)[0] == 200, 60, "all is well again", every=0.5)
    eventually(lambda: assert_ps_is_right(one, containers), 30, "a correct ps, again")
    assert container.id in one.ask("ps", "-o", "json").out
    entries = stream.read(one.nats)
    stream.assert_same_story(before, entries)
    assert_ordered(entries, "here")
    told_of = [line for line in one.process.stderr.read_text().splitlines() if "make room" in line]
    assert len(told_of) <= 3, "once for each thing that could not be written"
    assert one.process.stderr.read_text().count("could not write, and there is room again") <= 2
