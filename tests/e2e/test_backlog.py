"""The sequencer is away for long: what waits for it is all delivered; then who is lost is told, and nobody else."""

import signal
import time

import pytest

from harness import bus, stream
from harness.churn import Churn
from harness.engine import STUBBORN
from harness.order import Story, assert_ordered
from harness.stack import BRISK, Stack
from harness.state import FROM_ENGINE, differences
from harness.store import Store
from harness.stream import Entry
from harness.stubs import node_pb2, observation_pb2, record_pb2, rpc_pb2
from harness.wait import eventually

LIVES, DIES = "lives", "dies"
MESSAGES = 1000
# Of the installation's settings, in seconds.
LOST_AFTER = 4
# More than twice that.
AWAY = 10
# What is missing is waited for longer than what is silent.
SETTINGS = BRISK | {"DECKWATCH_LOST_AFTER": f"{LOST_AFTER}s", "DECKWATCH_GAP_WAIT": "6s"}
# With the usual settings, as it is promised.
USUAL_LOST_AFTER = 15
USUAL_AWAY = 30
USUALLY_NOT_CURRENT_WITHIN = 20


@pytest.fixture(scope="module")
def two(tmp_path_factory, engine, binary):
    yield from two_nodes(tmp_path_factory, engine, SETTINGS)


@pytest.fixture
def usual_two(tmp_path_factory, engine, binary):
    yield from two_nodes(tmp_path_factory, engine, {})


def two_nodes(tmp_path_factory, engine, settings):
    """Two nodes on one engine: the producer of one of them is to die."""
    stack = Stack(tmp_path_factory.mktemp("backlog"), engine, LIVES, settings=settings)
    stack.dying = stack.make_producer("producer-dying", node=DIES)
    stack.roles.append(stack.dying)
    try:
        stack.launch()
        yield stack
    finally:
        stack.stop()


def right(stack: Stack, node: str) -> bool:
    """The node is alive, and each of its containers is as the engine has it."""
    store, truth = Store(stack.store.client, node), stack.engine.states(node)
    assert store.current() and store.node_fields().get("status") == "alive", store.node_fields()
    stored = store.states()
    assert stored.keys() == truth.keys(), stored.keys() ^ truth.keys()
    found = {each: differences(stored[each], truth[each], FROM_ENGINE) for each in truth}
    assert not any(found.values()), found
    return True


def wait_right(stack: Stack, *nodes: str) -> None:
    for node in nodes:
        eventually(lambda node=node: right(stack, node), 30, f"{node} is right")


def told(stack: Stack, node: str) -> tuple[list[Entry], Story]:
    entries = [entry for entry in stack.entries() if entry.node == node]
    return entries, assert_ordered(entries, node)


def kinds(entries: list[Entry]) -> list[str]:
    return [entry.kind for entry in entries]


def stand_still(role):
    role.process.signal(signal.SIGSTOP)
    return lambda: role.process.signal(signal.SIGCONT)


def kill(role):
    role.kill()
    return role.start


def said_since(stack: Stack, read_to: int) -> dict[int, observation_pb2.ObservationBatch]:
    """What the node that is to die has said, by its place."""
    payloads = stream.read_sequences(stack.nats.url, "DECKWATCH_RAW")
    batches = {each: observation_pb2.ObservationBatch.FromString(payload) for each, payload in payloads.items()}
    return {each: batch for each, batch in batches.items() if each > read_to and batch.node == DIES}


def numbers(batch: observation_pb2.ObservationBatch) -> range:
    return range(batch.first_seq, batch.first_seq + len(batch.observations))


def say_much(stack: Stack, container) -> None:
    """Looks at one container, each published for itself."""
    drift = record_pb2.Correction(drift=record_pb2.DRIFT_KIND_EDITED_STORE, container_id=container.id)
    request = rpc_pb2.ResyncRequest(container_ids=[container.id], corrections=[drift]).SerializeToString()
    bus.request_each(stack.nats.url, f"deckwatch.rpc.{DIES}.resync", [request] * (MESSAGES // 4))


@pytest.mark.parametrize(("away", "destroyed"), [(stand_still, 0), (kill, 1)])
def test_a_producer_dies_with_much_that_nobody_has_read(two, containers, away, destroyed):
    """And where one of its messages is destroyed, a gap stands there before it is lost."""
    stack = two
    gone = containers.run(STUBBORN)
    wait_right(stack, LIVES, DIES)
    before, _ = told(stack, DIES)

    back, read_to = away(stack.sequencer), bus.stream_end(stack.nats.url, "DECKWATCH_RAW")
    since = time.monotonic()
    try:
        new = containers.run(STUBBORN)
        gone.remove(force=True)
        while len(said_since(stack, read_to)) < MESSAGES:
            say_much(stack, new)
            assert time.monotonic() - since < 60, f"only {len(said_since(stack, read_to))} messages"
        stack.dying.kill()
        said = said_since(stack, read_to)
        missing = [said.pop(sorted(said)[len(said) // 2]) for _ in range(destroyed)]
        for sequence in said_since(stack, read_to).keys() - said.keys():
            bus.delete_message(stack.nats.url, "DECKWATCH_RAW", sequence)
        time.sleep(max(AWAY - (time.monotonic() - since), 0))
    finally:
        back()
    woke = time.time()
    print(f"{len(said)} messages waited")

    entries = eventually(lambda: told_lost(stack, DIES), 40, "the dead one is lost")
    after = entries[len(before) :]
    lost = after.pop()
    assert lost.record.recorded_at.ToNanoseconds() / 1e9 > woke + LOST_AFTER, "what was not heard while away counted"
    stamps = {entry.stamp for entry in entries}
    expected = {f"{batch.epoch}.{number}" for batch in said.values() for number in numbers(batch)}
    assert expected <= stamps, f"{len(expected - stamps)} of {len(expected)} are not told"
    gaps = [f"{batch.epoch}.{numbers(batch)[0]}-{numbers(batch)[-1]}" for batch in missing]
    assert [entry.stamp for entry in after if entry.kind == "gap"] == gaps
    assert not {"node_change.lost", "node_change.back"} & set(kinds(after)), set(kinds(after))
    last = {entry.about: entry.state for entry in entries if entry.record.HasField("container")}
    assert (last[new.id]["status"], last[gone.id]["status"]) == ("running", "removed")

    store = Store(stack.store.client, DIES)
    eventually(lambda: store.node_fields()["status"] == "lost", 10, "Redis says so")
    state = store.state(new.id)
    assert (state["status"], state["last_status"]) == ("unknown", "running") and store.state(gone.id) is None

    assert_never_lost(stack, LIVES)

    stack.dying.start()
    wait_right(stack, DIES)


def told_lost(stack: Stack, node: str) -> list[Entry]:
    entries, _ = told(stack, node)
    assert kinds(entries)[-1] == "node_change.lost", kinds(entries[-3:])
    return entries


def assert_never_lost(stack: Stack, node: str) -> None:
    wait_right(stack, node)
    entries, story = told(stack, node)
    assert story.epochs == [1] and not story.stamp_gaps
    assert not {"node_change.lost", "node_change.back"} & set(kinds(entries))


def test_one_that_was_frozen_finds_another_at_work(two, containers):
    stack = two
    stack.dying.wait_ready()
    wait_right(stack, LIVES, DIES)
    first = holder(stack)
    before = stack.entries()
    second = stack.make_sequencer("sequencer-2")
    stack.roles.insert(0, second)
    second.start()
    second.wait_ready()

    with Churn(containers, threads=2) as churn:
        back = stand_still(stack.sequencer)
        try:
            churn.keep_on(AWAY)
        finally:
            back()
        # As long again: what it missed is no reason to tell of anybody's loss.
        churn.keep_on(LOST_AFTER + 2)
    wait_right(stack, LIVES, DIES)
    stack.sequencer.wait_ready()
    assert holder(stack) not in (0, first)
    new = stack.entries()[len(before) :]
    assert not {"gap", "node_change.lost", "node_change.back"} & set(kinds(new)), set(kinds(new))
    writers = [entry.record.writer for entry in new]
    turns = [writer for index, writer in enumerate(writers) if index == 0 or writers[index - 1] != writer]
    assert len(turns) == len(set(turns)) <= 2, f"they took turns: {turns}"
    for node in (LIVES, DIES):
        told(stack, node)


def test_one_that_was_frozen_with_the_usual_settings(usual_two, containers):
    """Awake again it tells of nobody's loss but of that of the one who died meanwhile, after its usual time."""
    stack = usual_two
    stays = containers.run(STUBBORN)
    wait_right(stack, LIVES, DIES)
    since = time.monotonic()
    back = stand_still(stack.sequencer)
    try:
        stack.dying.kill()
        meanwhile = containers.run(STUBBORN)
        within = USUALLY_NOT_CURRENT_WITHIN + 2
        eventually(lambda: not stack.ask("ps", "-o", "json").json["revision"], within, "ps is not current", since)
        time.sleep(max(USUAL_AWAY - (time.monotonic() - since), 0))
    finally:
        back()
    woke = time.time()
    entries = eventually(lambda: told_lost(stack, DIES), 40, "the dead one is lost")
    assert kinds(entries).count("node_change.lost") == 1 and "node_change.back" not in kinds(entries)
    lost_at = entries[-1].record.recorded_at.ToNanoseconds() / 1e9
    assert lost_at > woke + USUAL_LOST_AFTER, "what was not heard while it was frozen counted"
    assert_never_lost(stack, LIVES)
    listed = stack.ask("ps", "-o", "json", "--node", LIVES).json
    assert listed["revision"] and {stays.id, meanwhile.id} <= {item["id"] for item in listed["items"]}


def holder(stack: Stack) -> int:
    return node_pb2.Lease.FromString(bus.last_value(stack.nats.url, "DECKWATCH_LEASES", "sequencer.0")).instance
