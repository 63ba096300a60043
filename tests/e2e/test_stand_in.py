"""A node's producer is gone and the reconciler knows its engine's address: it stands in until the producer is back."""

import re
import signal
from collections.abc import Callable

import pytest

from harness import bus, http, ssh
from harness.cable import Cable
from harness.engine import STUBBORN
from harness.liar import Liar
from harness.paths import environment
from harness.stack import Role, Stack
from harness.stubs import record_pb2, rpc_pb2
from harness.wait import eventually

# Looks and signs of life come often; a node is lost as late as usual: it is to be stood in for by then.
SETTINGS = {"DECKWATCH_HEARTBEAT": "1s", "DECKWATCH_INTERVAL": "1s"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory, engine, binary):
    folder = ssh.install(tmp_path_factory.mktemp("programs"), engine.address)
    settings = SETTINGS | {"PATH": f"{folder}:{environment()['PATH']}"}
    stack = Stack(tmp_path_factory.mktemp("stack"), engine, settings=settings)
    with Cable(stack.nats.port) as stack.cable:
        stack.roles.remove(stack.producer)
        stack.producer = stack.make_producer("producer", through=stack.cable.url)
        stack.roles.append(stack.producer)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()


@pytest.fixture
def reconciler(stack):
    """Makes reconcilers that run until the test ends, and whose producer is back then."""
    made = []

    def make(name: str, engine: str | None = None) -> Role:
        folder = str(stack.folder / name)
        role = stack.make_reconciler(
            name, "--engine", f"{stack.node}={engine or stack.engine.address}", "--data-dir", folder
        )
        made.append(role)
        stack.roles.append(role)
        role.start()
        role.wait_ready()
        return role

    yield make
    if not stack.producer.process.running:
        stack.producer.start()
        stack.producer.wait_ready()
    for role in made:
        stack.roles.remove(role)
        role.stop()


def responder(stack: Stack) -> rpc_pb2.Responder:
    """Who says that it serves the node. A server shares requests out, also to those who are frozen."""
    question = rpc_pb2.ReplayRequest().SerializeToString()

    def answer() -> bytes:
        return bus.request(stack.nats.url, f"deckwatch.rpc.{stack.node}.replay", question, timeout=1)

    return rpc_pb2.ReplayResponse.FromString(eventually(answer, 30, "somebody answers for the node")).responder


def wait_for(stack: Stack, stand_in: bool, after: int = 0, within: float = 40) -> int:
    """A life of that kind has stated all; its epoch."""

    def stated() -> int:
        epoch, listed = 0, 0
        for entry in stack.entries():
            if entry.kind == "node_change.hello" and entry.record.epoch > after:
                is_so = entry.record.node_change.hello.stand_in == stand_in
                epoch = entry.record.epoch if is_so else 0
            if entry.kind == "node_change.listed" and entry.record.epoch == epoch:
                listed = epoch
        return listed

    return eventually(lambda: stated() or None, within, f"all is stated by {'a stand-in' if stand_in else 'its own'}")


def epoch(stack: Stack) -> int:
    return max(entry.record.epoch for entry in stack.entries())


def node(stack: Stack) -> dict:
    (item,) = stack.ask("nodes", "-o", "json").json["items"]
    return item


def drifts(role: Role) -> float:
    return sum(count for name, count in http.samples(role.port).items() if name.startswith("deckwatch_drifts_total"))


def kinds_since(stack: Stack, sequence: int) -> list[str]:
    return [entry.kind for entry in stack.entries(first=sequence + 1)]


@pytest.mark.parametrize("away", ["killed", "cut off", "frozen"])
def test_until_the_producer_is_back(stack, containers, reconciler, away):
    ends, goes = containers.run(STUBBORN), containers.run(STUBBORN)
    stays = containers.run(STUBBORN)
    # Both ways to reach an engine.
    role = reconciler(f"reconciler-{away.split()[0]}", f"ssh://me@{ssh.HOST}" if away == "killed" else None)
    before, _ = stack.wait_settled()
    own, last = epoch(stack), before[-1].sequence

    back_again = send_away(stack, away)
    try:
        # At once: while nobody observes.
        ends.kill()
        later = containers.run(["sh", "-c", "exit 3"])
        its_own = wait_for(stack, stand_in=True, after=own)
        goes.remove(force=True)
        meanwhile = containers.run(STUBBORN)
        stack.wait_settled()
        assert {stays.id, meanwhile.id, later.id, ends.id} <= stack.store.states().keys()
        assert stack.store.state(goes.id) is None

        answering = responder(stack)
        assert (answering.stand_in, answering.epoch) == (True, its_own)
        eventually(lambda: node(stack).get("stand_in") is True, 10, "`nodes` says who watches it")
        assert node(stack)["status"] == "alive" and "stand-in" in stack.ask("nodes").out
        eventually(lambda: is_told_by_stand_in(stack, last, meanwhile, goes), 20, "the record tells all")
        if away != "frozen":
            assert "node_change.lost" not in kinds_since(stack, last)
    finally:
        back_again()

    back = wait_for(stack, stand_in=False, after=its_own)
    assert back == its_own + 1
    eventually(lambda: "no longer standing in" in role.process.stderr.read_text(), 10, "the stand-in has ended")
    stays.kill()

    def is_told() -> bool:
        return [entry.action for entry in stack.of_container(stays)][-1] == "die"

    eventually(is_told, 20, "its own tells what happens now")
    entries, story = stack.wait_settled()
    assert story.epochs[-3:] == [own, its_own, back]
    eventually(lambda: "stand_in" not in node(stack), 10, "`nodes` says that its own is back")
    assert (responder(stack).epoch, drifts(role)) == (back, 0)
    if away == "killed":
        assert "node_change.lost" not in kinds_since(stack, last)
    else:
        # What it heard meanwhile is history by now, and still told.
        told = [entry for entry in entries if entry.record.epoch == back and entry.about == meanwhile.id]
        assert "start" in [entry.action for entry in told], told
    role.wait_ready()


def send_away(stack: Stack, how: str) -> Callable[[], None]:
    """Nothing comes of the producer any more; returns what brings it back."""
    process = stack.producer.process
    if how == "killed":
        stack.producer.kill()
        return stack.producer.start
    if how == "cut off":
        stack.cable.cut()
        return stack.cable.mend
    process.signal(signal.SIGSTOP)
    return lambda: process.signal(signal.SIGCONT)


def is_told_by_stand_in(stack, last, meanwhile, goes) -> bool:
    """What the engine tells is an event, whoever hears it; what is found is found by a stand-in."""
    cause = record_pb2.Cause
    later = [entry for entry in stack.entries(first=last + 1) if entry.stamp]
    found = {cause.Name(entry.record.cause) for entry in later if entry.record.cause != cause.Value("CAUSE_EVENT")}
    assert found <= {"CAUSE_STAND_IN", "CAUSE_UNSPECIFIED"} and "CAUSE_STAND_IN" in found, found
    actions = [(entry.about, entry.action) for entry in later if entry.record.cause == cause.Value("CAUSE_EVENT")]
    return {(meanwhile.id, "start"), (goes.id, "destroy")} <= set(actions)


def test_handed_over(stack, containers, reconciler):
    """The reconciler that stands in is killed: another one that knows the engine goes on, and the node is never lost."""
    both = [reconciler("reconciler-a"), reconciler("reconciler-b")]
    before, _ = stack.wait_settled()
    own, last = epoch(stack), before[-1].sequence
    stack.producer.kill()
    first = wait_for(stack, stand_in=True, after=own)

    (standing,) = [role for role in both if is_standing(role)]
    standing.kill()
    running = containers.run(STUBBORN)
    second = wait_for(stack, stand_in=True, after=first)
    stack.wait_settled()
    (other,) = [role for role in both if role is not standing]
    assert is_standing(other) and stack.store.state(running.id)["status"] == "running"
    assert len(bus.gather(stack.nats.url, f"$SRV.PING.deckwatch-{stack.node}")) == 1

    stack.producer.start()
    wait_for(stack, stand_in=False, after=second)
    running.kill()
    stack.wait_settled()
    assert "node_change.lost" not in kinds_since(stack, last)
    assert drifts(other) == 0


def is_standing(role: Role) -> bool:
    return "standing in for it" in role.process.stderr.read_text()


def test_an_engine_out_of_reach(stack, reconciler):
    """Not ready with the reason, until the producer is back."""
    role = reconciler("reconciler-out-of-reach", "ssh://nowhere")
    stack.producer.kill()
    assert_unready(role, f"stand-in for {stack.node}", "ssh://nowhere", "Could not resolve hostname")
    stack.producer.start()
    role.wait_ready()
    stack.wait_settled()


def test_another_engine(stack, reconciler, tmp_path):
    """Its states are none of this node's: refused, in the log and in `/readyz`."""
    found = stack.engine.client.info()["ID"]
    stack.wait_settled()
    own = epoch(stack)
    lies = {b"(" + re.escape(found.encode()) + b")": b"x" * len(found)}
    with Liar(tmp_path / "liar.sock", stack.engine.address, lies) as liar:
        role = reconciler("reconciler-elsewhere", liar.address)
        stack.producer.kill()
        said = assert_unready(role, f"stand-in for {stack.node}", found, f"--engine {stack.node}=")
        assert "x" * len(found) in said and found in role.process.stderr.read_text()
        stack.producer.start()
        role.wait_ready()
    stack.wait_settled()
    assert epoch(stack) == own + 1, "no epoch was claimed for another engine"


def assert_unready(role: Role, *words: str) -> str:
    def said() -> str:
        status, text = http.readiness(role.port)
        assert status == 503 and all(word in text for word in words), f"{status} {text}"
        return text

    return eventually(said, 40, f"{role.process.name} says why it is not ready")
