"""The accounts of `deckwatch accounts` on a real server with TLS: what each must be able to do works, and no more."""

import asyncio
import json
import signal
import stat

import pytest

from harness import http
from harness import stack as stacks
from harness.accounts import Secured, refusal, request
from harness.engine import STUBBORN
from harness.picture import Picture
from harness.program import deckwatch
from harness.servers import RedisServer
from harness.stack import Role
from harness.store import Store
from harness.wait import eventually

pytestmark = pytest.mark.timeout(120)

FORGED = [
    "deckwatch.raw.b",
    "deckwatch.raw.0.b",
    "deckwatch.beat.b",
    "deckwatch.state.0.b.node",
    "deckwatch.state.0.a.node",
    "deckwatch.dead.b",
    "$KV.DECKWATCH_NODES.b",
    "$KV.DECKWATCH_LEASES.sequencer.0",
    "deckwatch.control.0.forget",
    "deckwatch.control.0.rebuild",
]


class Installation(Picture):
    """Roles with their keys, and a producer with its node's."""

    def __init__(self, folder, engine):
        self.folder = folder
        self.nats, self.redis = Secured(folder, ["a", "b"]), RedisServer(folder)
        super().__init__(engine, "a", self.nats.url, Store(self.redis.client(), "a"))
        producer = self.make("producer", "node-a", "--node", "a", "--engine", engine.address)
        self.roles = [self.make("sequencer"), self.make("projector"), self.make("reconciler"), producer]

    def make(self, role: str, member: str | None = None, *flags: str) -> Role:
        settings = self.nats.settings(member or role)
        if role in ("projector", "reconciler"):
            settings["DECKWATCH_REDIS"] = self.redis.url
        return Role(role, self.folder, *flags, settings=settings)

    def start(self) -> "Installation":
        stacks.alive.append(self)
        self.nats.start()
        self.redis.start()
        for role in self.roles:
            role.start()
        for role in self.roles:
            role.wait_ready()
        self.wait_equal(30)
        return self

    def ask(self, member: str, *argv: str):
        return deckwatch(*argv, env=self.nats.settings(member) | {"DECKWATCH_REDIS": self.redis.url})

    def stop(self) -> None:
        stacks.alive.remove(self)
        for role in reversed(self.roles):
            role.stop()
        self.nats.stop()
        self.redis.process.stop()
        self.store.client.close()

    def tail(self) -> str:
        processes = [role.process for role in self.roles] + [self.nats.process, self.redis.process]
        return "\n".join(process.tail() for process in processes)


@pytest.fixture(scope="module")
def installation(tmp_path_factory, engine, binary):
    installation = Installation(tmp_path_factory.mktemp("accounts"), engine)
    try:
        yield installation.start()
    finally:
        installation.stop()


@pytest.fixture
def unpermitting(tmp_path, binary):
    """A server that permits less than each role needs, once its streams are made."""
    nats = Secured(tmp_path, ["a"])
    whole = nats.config.read_text()
    nats.start()
    try:
        made = Role("sequencer", tmp_path, name="made", settings=nats.settings("sequencer"))
        made.start()
        made.wait_ready()
        made.stop()
        nats.stop()
        text = cut(whole, '"deckwatch.state.>", "deckwatch.dead.*", ', "")
        # The second that hears beats: the projector.
        first, second, rest = text.split('"deckwatch.beat.*", "deckwatch.control.>"')
        text = f'{first}"deckwatch.beat.*", "deckwatch.control.>"{second}"deckwatch.control.>"{rest}'
        api = "CONSUMER.MSG.NEXT.DECKWATCH_STATE_0.>"
        line = f'      {{ service: {{ account: "STREAMS", subject: "$JS.API.{api}" }}, to: "deckwatch.js.{api}" }}\n'
        text = cut(text, line, "")
        # A node's claim.
        nats.config.write_text(cut(text, '{ service: { account: "STREAMS", subject: "$KV.DECKWATCH_NODES.a" } }', ""))
        yield nats.start(), tmp_path
    finally:
        nats.stop()


def cut(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory, binary):
    """A server with the streams of a sequencer that is gone: nobody but the test changes anything there."""
    folder = tmp_path_factory.mktemp("quiet")
    nats = Secured(folder, ["a", "b"], partitions=2).start()
    try:
        sequencer = Role("sequencer", folder, "--partitions", "2", settings=nats.settings("sequencer"))
        sequencer.start()
        sequencer.wait_ready()
        sequencer.stop()
        for node in ("a", "b"):
            assert nats.ask("operator", f"deckwatch.state.{0 if node == 'a' else 1}.{node}.node", b"a record")
            assert nats.ask(f"node-{node}", f"$KV.DECKWATCH_NODES.{node}", b"a claim")
        yield nats
    finally:
        nats.stop()


def saying(answer: bytes):
    async def respond(message) -> None:
        if message.reply:
            await message.respond(answer)

    return respond


def test_every_member_can_do_its_work(installation, containers):
    container = containers.run(STUBBORN)
    installation.wait_equal()
    told = installation.ask("reader", "history", container.id, "-o", "json")
    assert told.code == 0 and [line["event"]["action"] for line in told.lines if "event" in line], told
    revision = installation.ask("operator", "ps", "-o", "json").json["revision"]
    containers.run(STUBBORN)
    watched = installation.ask("reader", "watch", "--from", revision, "--count", "1", "-o", "json")
    assert watched.code == 0 and watched.lines[0]["node"] == "a", watched
    verified = installation.ask("operator", "verify")
    assert verified.code == 0, verified
    # The sequencer had a producer say again what it knows; the key of an edited container is put right by it.
    container_key = installation.store.key(f"container:{container.id}")
    installation.store.client.hset(container_key, "name", "another")
    installation.wait_equal(30)


def test_doctor_finds_that_all_is_permitted(installation):
    for role in ("producer", "sequencer", "projector", "reconciler", "reader"):
        flags = ["--node", "a", "--engine", installation.engine.address] if role == "producer" else []
        found = installation.ask("node-a" if role == "producer" else role, "doctor", "--for", role, *flags, "-o", "json")
        assert found.code == 0, found
        assert {item["result"] for item in found.json["items"]} == {"ok"}, found
        assert "permissions" in {item["check"] for item in found.json["items"]}, found
    everything = installation.ask("operator", "doctor", "--engine", installation.engine.address, "-o", "json")
    assert everything.code == 0 and {item["result"] for item in everything.json["items"]} == {"ok"}, everything
    # Another's key is not for it.
    flags = ["--node", "b", "--engine", installation.engine.address]
    found = installation.ask("node-a", "doctor", "--for", "producer", *flags, "-o", "json")
    assert found.code == 1, found
    missing = " ".join(item["detail"] for item in found.json["items"] if item["result"] == "failed")
    assert "deckwatch.raw.b" in missing and "$KV.DECKWATCH_NODES.b" in missing, found


def test_what_is_not_permitted_is_named(unpermitting):
    """By `doctor`, by /readyz, and in one line of the log."""
    nats, folder = unpermitting
    for role, missing in [
        ("sequencer", ["deckwatch.dead.", "deckwatch.state.0."]),
        ("projector", ["deckwatch.beat.*"]),
        ("reader", ["DECKWATCH_STATE_0"]),
        ("producer", ["$KV.DECKWATCH_NODES.a"]),
    ]:
        # What else it finds is that there is neither an engine nor Redis.
        nowhere = {"DECKWATCH_REDIS": "redis://127.0.0.1:1", "DECKWATCH_ENGINE": f"unix://{folder}/nowhere"}
        member, flags = ("node-a", ["--node", "a"]) if role == "producer" else (role, [])
        found = deckwatch("doctor", "--for", role, *flags, "-o", "json", env=nats.settings(member) | nowhere)
        failed = [item for item in found.json["items"] if item["result"] == "failed" and item["check"] == "permissions"]
        assert found.code == 1 and len(failed) == len(missing), found
        for item, what in zip(sorted(failed, key=lambda item: item["detail"]), missing, strict=True):
            assert what in item["detail"] and "deckwatch accounts" in item["advice"], found
    sequencer = Role("sequencer", folder, settings=nats.settings("sequencer"))
    sequencer.start()
    try:
        # It is refused when it first writes: what that is, a message of a node tells it.
        def named() -> bool:
            status, reason = http.readiness(sequencer.port)
            assert status == 503 and "not permit to publish on deckwatch.dead.>" in reason, reason
            return True

        assert nats.ask("node-a", "deckwatch.raw.a", b"nonsense") is not None
        eventually(named, 20, "/readyz names it")
        nats.ask("node-a", "deckwatch.raw.a", b"nonsense again")
        eventually(lambda: sequencer.process.stderr.read_text().count("an observation cannot be read") >= 2, 20, "it is read")
        said = [line for line in sequencer.process.stderr.read_text().splitlines() if "does not permit" in line]
        assert len(said) == 1, said
    finally:
        sequencer.stop()


def test_keys_are_for_their_owner_alone(quiet):
    written = {path: path.read_bytes() for path in quiet.accounts.rglob("*") if path.is_file()}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in written)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in quiet.accounts.rglob("*") if path.is_dir())
    assert "as it was" in quiet.say("b").out
    again = {path: path.read_bytes() for path in quiet.accounts.rglob("*") if path.is_file()}
    assert again == written, "all is there already, partitions and all"


def test_a_node_speaks_for_itself_alone(quiet):
    before = quiet.extents()

    async def forge(client) -> None:
        for subject in FORGED:
            assert await request(client, subject, b"forged") is None, subject
            # As an answer to itself, and as the acknowledgement of what is its own.
            await client.subscribe(subject, cb=saying(b"forged"))
            for own in ("deckwatch.rpc.a.snapshot", "deckwatch.beat.a", "$JS.API.STREAM.INFO.DECKWATCH_RAW"):
                await client.publish(own, b"", reply=subject)
        # Neither another's key, nor all of them.
        own = "$KV.DECKWATCH_NODES.a"
        for headers in ({"Nats-Rollup": "all"}, {"Nats-Rollup": "sub"}):
            assert refusal(await request(client, own, b"forged", headers)), headers
        for api in ("STREAM.PURGE", "STREAM.DELETE", "STREAM.UPDATE", "CONSUMER.CREATE", "STREAM.MSG.GET"):
            assert await request(client, f"$JS.API.{api}.DECKWATCH_RAW") is None, api
        get = "$JS.API.DIRECT.GET.KV_DECKWATCH_NODES.$KV.DECKWATCH_NODES"
        assert (await request(client, f"{get}.a")).data == b"a claim"
        assert await request(client, f"{get}.b") is None

    quiet.as_member("node-a", forge)
    assert quiet.extents() == before

    # What is its own is stored, whatever reply it names: so the way is open, and leads nowhere else.
    async def speak(client) -> None:
        for subject in FORGED:
            await client.publish("deckwatch.raw.a", b"an observation", reply=subject)
        await client.flush()

    quiet.as_member("node-a", speak)
    stored = lambda: quiet.extents()["DECKWATCH_RAW"]["state"]["messages"] - before["DECKWATCH_RAW"]["state"]["messages"]
    eventually(lambda: stored() == len(FORGED), 10, "its observations are stored")
    after = quiet.extents()
    assert {name: each for name, each in after.items() if name != "DECKWATCH_RAW"} == {
        name: each for name, each in before.items() if name != "DECKWATCH_RAW"
    }


def test_a_node_answers_for_itself_alone(quiet):
    async def answer() -> None:
        async with quiet.connection("node-a") as node, quiet.connection("sequencer") as asking:
            for subject in ("deckwatch.rpc.a.*", "deckwatch.rpc.b.*", "deckwatch.rpc.>"):
                await node.subscribe(subject, cb=saying(b"node a"))
            await node.flush()

            async def served() -> bool:
                return await request(asking, "deckwatch.rpc.a.replay") is not None

            for _ in range(50):
                if await served():
                    break
                await asyncio.sleep(0.1)
            assert (await request(asking, "deckwatch.rpc.a.replay")).data == b"node a"
            assert await request(asking, "deckwatch.rpc.b.replay") is None

    asyncio.run(answer())


def test_a_reader_writes_nothing(quiet):
    before = quiet.extents()
    streams = list(before)

    async def write(client, heard) -> None:
        for subject in [*FORGED, "deckwatch.raw.a", "deckwatch.beat.a", "deckwatch.rpc.a.resync", "$KV.DECKWATCH_NODES.a"]:
            assert await request(client, subject, b"forged") is None, subject
        for stream in streams:
            for api in ("STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE", "STREAM.MSG.DELETE", "CONSUMER.DELETE"):
                assert await request(client, f"$JS.API.{api}.{stream}", b"{}") is None, f"{api} {stream}"
            if "_STATE_" not in stream:
                assert await request(client, f"$JS.API.CONSUMER.CREATE.{stream}.x", b"{}") is None, stream
                assert await request(client, f"$JS.API.STREAM.MSG.GET.{stream}", b'{"seq":1}') is None, stream
        # A consumer delivers where somebody listens in the streams' account: to a stream, or the server itself.
        targets = [*FORGED, "deckwatch.state.1.b.node", "deckwatch.raw.a", "$KV.DECKWATCH_NODES.a"]
        targets += [f"$JS.API.STREAM.{api}.{stream}" for api in ("PURGE", "DELETE") for stream in streams]
        for number, subject in enumerate(targets):
            for headers_only in (False, True):
                name = f"push{number}{headers_only}"
                config = {"name": name, "deliver_subject": subject, "deliver_policy": "all", "ack_policy": "none"}
                config |= {"headers_only": headers_only, "inactive_threshold": 60_000_000_000}
                create = {"stream_name": "DECKWATCH_STATE_0", "config": config, "action": ""}
                subject_of = f"$JS.API.CONSUMER.CREATE.DECKWATCH_STATE_0.{name}"
                assert await request(client, subject_of, json.dumps(create).encode()) is not None
        # What it asks for is answered to itself, whatever reply it names.
        pull = {"name": "pull", "deliver_policy": "all", "ack_policy": "none", "inactive_threshold": 60_000_000_000}
        create = {"stream_name": "DECKWATCH_STATE_0", "config": pull, "action": ""}
        assert await request(client, "$JS.API.CONSUMER.CREATE.DECKWATCH_STATE_0.pull", json.dumps(create).encode())
        for subject in FORGED:
            ask = json.dumps({"batch": 10, "no_wait": True}).encode()
            await client.publish("$JS.API.CONSUMER.MSG.NEXT.DECKWATCH_STATE_0.pull", ask, reply=subject)
            await client.publish("$JS.API.DIRECT.GET.DECKWATCH_STATE_0", b'{"seq":1}', reply=subject)
        await client.flush()
        # It can read: the record, by pulling, after all that.
        await asyncio.sleep(1)
        answer = await request(client, "$JS.API.DIRECT.GET.DECKWATCH_STATE_0", b'{"seq":1}')
        assert answer is not None and answer.data == b"a record"
        assert heard == [], "a role was told something"

    async def beside_a_role() -> None:
        async with quiet.connection("sequencer") as role, quiet.connection("reader") as client, quiet.connection("node-b") as node:
            heard = []

            async def hear(message) -> None:
                heard.append(message.subject)

            for subject in ("deckwatch.beat.*", "deckwatch.control.>"):
                await role.subscribe(subject, cb=hear)
            await role.flush()
            await write(client, heard)
            # It would have heard.
            for _ in range(50):
                await node.publish("deckwatch.beat.b", b"a beat")
                await asyncio.sleep(0.1)
                if heard:
                    break
            assert set(heard) == {"deckwatch.beat.b"}

    asyncio.run(beside_a_role())
    assert quiet.extents() == before


def test_nobody_comes_in_without_a_key(quiet):
    settings = quiet.settings("reader")
    del settings["DECKWATCH_NATS_NKEY"]
    refused = deckwatch("watch", "--count", "1", env=settings)
    assert refused.code == 1 and "refuses these credentials" in refused.err, refused
    stranger = quiet.settings("reader") | {"DECKWATCH_NATS_CA": ""}
    del stranger["DECKWATCH_NATS_CA"]
    refused = deckwatch("watch", "--count", "1", env=stranger)
    assert refused.code == 3, refused


def test_one_more_node_while_it_runs(quiet):
    """As its help says: two signals, as only after the second one what a new account reaches in another leads there."""
    quiet.say("c")
    for times in (1, 2):
        quiet.process.signal(signal.SIGHUP)
        eventually(lambda: quiet.log.count("Reloaded server configuration") == times, 20, "the configuration is read")
    for member in ("node-c", "node-a"):
        node = member.removeprefix("node-")
        stored = eventually(lambda: quiet.ask(member, f"deckwatch.raw.{node}", b"an observation"), 20, f"{node} is heard")
        assert json.loads(stored.data)["stream"] == "DECKWATCH_RAW"
    assert quiet.ask("node-c", "deckwatch.raw.a", b"forged") is None
