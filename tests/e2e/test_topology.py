"""More than one of each: partitions, instances that take over, an engine out of reach, observations that got lost."""

import time

import pytest

from harness import bus, http, stream
from harness.churn import Churn
from harness.engine import OBEDIENT, STUBBORN
from harness.listener import Listener, assert_every_event_is_told
from harness.nodes import assert_each_equals
from harness.order import assert_ordered
from harness.proxy import Proxy
from harness.sampler import Sampler
from harness.stack import Stack
from harness.state import FIELDS, OF_THE_LOOK, differences
from harness.store import Store, assert_equals_record
from harness.stream import Entry, Recorder
from harness.stubs import node_pb2, observation_pb2, record_pb2
from harness.transport import Transport, passes
from harness.wait import eventually, promised
from harness.watch import Watch

SERVICE = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
# Seconds in which another instance is at work after one was killed.
TAKEN_OVER = 6


# --- two partitions ---


def partition(name: str) -> int:
    """FNV-1a 32 modulo 2."""
    number = 0x811C9DC5
    for byte in name.encode():
        number = (number ^ byte) * 0x01000193 % 2**32
    return number % 2


# One name of each partition.
NAMES = [next(name for name in (f"node-{number}" for number in range(99)) if partition(name) == p) for p in (0, 1)]


class TwoNodes:
    """Two producers on one engine, whose names fall into different partitions."""

    def __init__(self, stack: Stack):
        self.stack = stack
        stack.sequencer = stack.make_sequencer("sequencer-of-2", "--partitions", "2")
        stack.projector = stack.make_projector("projector-of-2", "--partitions", "2")
        producers = [stack.make_producer(f"producer-{name}", node=name) for name in NAMES]
        stack.roles = [stack.sequencer, stack.projector, *producers]
        self.stores = [Store(stack.store.client, name) for name in NAMES]

    def entries(self, number: int) -> list[Entry]:
        return stream.read(self.stack.nats.url, f"DECKWATCH_STATE_{number}")

    def right(self) -> bool:
        truths = [(store, self.stack.engine.states(store.node)) for store in self.stores]
        assert_each_equals(truths, partitions=2)
        return True

    def wait_right(self) -> list[list[Entry]]:
        """Redis is right, and equals the subjects: returns the records of each partition."""
        eventually(self.right, 20, "both nodes are right", every=0.2)

        def agreed() -> list[list[Entry]]:
            streams = [self.entries(0), self.entries(1)]
            for store, entries in zip(self.stores, streams, strict=True):
                assert_equals_record(store, entries)
            return streams

        return eventually(agreed, 20, "Redis equals both streams", every=0.2)


@pytest.fixture(scope="module")
def two(tmp_path_factory, engine, binary):
    nodes = TwoNodes(Stack(tmp_path_factory.mktemp("two"), engine, NAMES[0]))
    try:
        nodes.stack.launch()
        yield nodes
    finally:
        nodes.stack.stop()


def test_each_partition_has_its_own_stream(two, containers):
    containers.run(OBEDIENT, labels=SERVICE).stop(timeout=20)
    containers.run(STUBBORN, labels=SERVICE)
    for number, entries in enumerate(two.wait_right()):
        assert {entry.node for entry in entries} == {NAMES[number]}
        assert {entry.subject.split(".")[2] for entry in entries} == {str(number)}
        story = assert_ordered(entries, NAMES[number])
        assert story.epochs == [1] and not story.stamp_gaps
        assert two.stores[number].node_fields()["partition"] == str(number)


def test_list_then_watch_over_both(two, containers):
    """The revision of a list names both places, and so does that of each line that follows it."""
    two.wait_right()
    listed = two.stack.ask("ps", "-o", "json")
    revision = listed.json["revision"]
    assert listed.code == 0 and listed.err == "", listed
    assert [place.split(":")[0] for place in revision.split("+")[0].split(",")] == ["0", "1"], revision
    assert {item["node"] for item in listed.json["items"]} <= set(NAMES)

    with Watch(two.stack, "watch-both", "--from", revision) as watch:
        container = containers.run(["sh", "-c", "exit 3"])
        container.wait()
        container.remove()
        stored = [[entry for entry in entries if entry.about == container.id] for entries in two.wait_right()]
        assert all(entries[-1].state["status"] == "removed" for entries in stored)
        expected = {name: [entry.action for entry in stored[number]] for number, name in enumerate(NAMES)}

        def told() -> list[dict]:
            lines = watch.lines
            found = {name: actions(lines, name, container) for name in NAMES}
            assert found == expected, f"{found} is not {expected}"
            return lines

        lines = eventually(told, 15, "watch tells the life on both nodes")
    middle = len(lines) // 2
    rest = {name: of_node(lines[middle + 1 :], name) for name in NAMES}
    with Watch(two.stack, "watch-rest", "--from", lines[middle]["revision"]) as again:

        def the_rest() -> bool:
            found = {name: of_node(again.lines, name)[: len(rest[name])] for name in NAMES}
            assert found == rest, f"{found} is not {rest}"
            return True

        eventually(the_rest, 15, "watch goes on at the middle")


def of_node(lines: list[dict], node: str) -> list[dict]:
    """Its lines without their revisions: how two partitions interleave is nobody's promise."""
    return [{key: value for key, value in line.items() if key != "revision"} for line in lines if line["node"] == node]


def actions(lines: list[dict], node: str, container) -> list[str]:
    return [
        line["event"]["action"]
        for line in lines
        if line["node"] == node and line["type"] == "container" and line["container"]["id"] == container.id and "event" in line
    ]


def test_a_sequencer_for_one_partition_is_refused(two):
    other = two.stack.make_sequencer("sequencer-of-1", "--partitions", "1")
    other.process.start()
    code, lines = other.process.wait(20), other.process.stderr.read_text().splitlines()
    assert code == 1 and lines, other.process.tail()
    assert "partitions" in lines[-1] and "2" in lines[-1], lines[-1]
    assert two.stack.sequencer.ready


# --- another instance takes over ---


def holder(stack: Stack, key: str) -> int:
    return node_pb2.Lease.FromString(bus.last_value(stack.nats.url, "DECKWATCH_LEASES", key)).instance


def test_another_sequencer_takes_over(own_stack, containers):
    stack = own_stack
    first = holder(stack, "sequencer.0")
    second = stack.make_sequencer("sequencer-2")
    stack.roles.insert(0, second)
    second.start()
    second.wait_ready()
    with Listener(containers.address) as listener, Recorder(stack.nats.url) as recorder:
        with Churn(containers, threads=2) as churn:
            eventually(lambda: churn.done > 20, 30, "the load runs")
            assert holder(stack, "sequencer.0") == first != 0
            stack.sequencer.kill()
            killed = time.monotonic()
            writers = {entry.record.writer for entry in stack.entries()}
            assert len(writers) == 1, "the second one wrote beside the first"

            def another_writes() -> bool:
                return any(entry.record.writer not in writers for entry in recorder.entries)

            promised(another_writes, TAKEN_OVER, "another sequencer writes", killed)
            done = churn.done
            eventually(lambda: churn.done > done + 20, 30, "the load goes on")
        entries, story = stack.wait_settled()
    assert holder(stack, "sequencer.0") not in (0, first)
    assert len({entry.record.writer for entry in entries}) == 2
    assert story.epochs == [1] and not story.stamp_gaps and not story.engine_gaps
    stream.assert_same_story(recorder.entries, entries)
    assert_every_event_is_told(listener.events, entries)


def test_another_projector_takes_over(own_stack, containers):
    stack = own_stack
    first = holder(stack, "projector.0")
    second = stack.make_projector("projector-2")
    stack.roles.insert(0, second)
    second.start()
    second.wait_ready()
    with Sampler(stack.store) as sampler, Churn(containers, threads=2) as churn:
        eventually(lambda: churn.done > 20, 30, "the load runs")
        assert holder(stack, "projector.0") == first != 0
        stack.projector.kill()
        killed, vouched = time.monotonic(), stack.redis.client().hgetall("deckwatch:partition:0")
        later = containers.run(STUBBORN)
        promised(lambda: stack.store.state(later.id) is not None, TAKEN_OVER, "another projector writes", killed)
    stack.wait_settled()
    assert holder(stack, "projector.0") not in (0, first)
    assert not sampler.steps_back and sampler.samples, sampler.steps_back

    def vouches() -> bool:
        now = stack.redis.client().hgetall("deckwatch:partition:0")
        assert now and now["applied_at"] > vouched["applied_at"], f"{now} after {vouched}"
        return True

    # With each heartbeat of 5 s.
    eventually(vouches, 20, "the other projector vouches for Redis")


# Seconds in which another instance is at work after one has lost sight of Redis, which it says at its next look.
GIVEN_UP = TAKEN_OVER + 4


@pytest.mark.parametrize("role", ["projector", "reconciler"])
def test_who_cannot_reach_redis_gives_way(own_stack, role):
    """And is ready to take over when it can."""
    stack = own_stack
    make, lease = getattr(stack, f"make_{role}"), f"{role}.0"
    with Proxy(stack.folder / "redis.sock", f"tcp://127.0.0.1:{stack.redis.port}") as proxy:
        far, near = make(f"far-{role}", store=proxy.address), make(f"near-{role}")
        if role == "projector":
            stack.projector.stop()
        stack.roles += [far, near]
        far.start()
        far.wait_ready()
        first = eventually(lambda: holder(stack, lease) or None, 20, f"the far {role} works")
        near.start()
        near.wait_ready()
        proxy.close()

        def given_up() -> bool:
            assert holder(stack, lease) not in (0, first)
            return True

        promised(given_up, GIVEN_UP, f"another {role} works")
        assert http.readiness(far.port)[0] == 503
        proxy.open()
        far.wait_ready()
        assert given_up(), "it waits for its turn"
        near.stop()
        eventually(lambda: holder(stack, lease) == first, 20, f"the far {role} works again")


# --- an engine out of reach ---


@pytest.fixture
def far(tmp_path_factory, engine, binary):
    """An installation whose producer asks the engine through a proxy, and the proxy."""
    folder = tmp_path_factory.mktemp("far")
    with Proxy(folder / "engine.sock", engine.address) as proxy:
        stack = Stack(folder, engine, watched=proxy.address)
        try:
            stack.start()
            yield stack, proxy
        finally:
            stack.stop()


def test_blind_and_seeing_again(far, containers):
    stack, proxy = far
    stays, to_be_stopped = containers.run(STUBBORN), containers.run(STUBBORN)
    stack.wait_settled()
    before, last = stack.store.states(), stack.entries()[-1].sequence

    proxy.close()
    eventually(lambda: stack.store.node_fields()["status"] == "blind", 30, "the node is blind")
    assert stack.store.node_fields()["reason"]
    states = stack.store.states()
    assert states.keys() == before.keys(), "a failed look deletes nothing"
    for container_id, state in states.items():
        assert (state["status"], state["last_status"]) == ("unknown", before[container_id]["status"])
        others = [name for name in FIELDS if name not in ("status", "last_status", "status_since", *OF_THE_LOOK)]
        assert not differences(state, before[container_id], others), "its other fields stay"
    told = stack.entries(first=last + 1)
    blind = next(entry for entry in told if entry.kind == "node_change.blind")
    assert blind.record.node_change.blind.reason and blind.stamp
    later = {entry.kind for entry in told if entry.sequence > blind.sequence}
    assert later <= {"node_change.blind", "node_change.cursor"}, f"{later}: the node's record says it for all"

    to_be_stopped.stop(timeout=0)
    proxy.open()
    entries, story = stack.wait_settled(30)
    assert story.epochs == [1] and not story.stamp_gaps
    assert stack.store.state(stays.id)["status"] == "running"
    assert stack.store.state(to_be_stopped.id)["status"] == "exited"
    assert stack.store.node_fields()["status"] == "alive" and "reason" not in stack.store.node_fields()
    after = [entry for entry in entries if entry.sequence > blind.sequence]
    kinds = [entry.kind for entry in after]
    assert kinds.index("node_change.stating") < kinds.index("node_change.listed"), kinds
    listed = next(entry for entry in after if entry.kind == "node_change.listed").record.node_change.listed
    assert listed.complete and listed.whole


# --- observations that got lost on their way ---


def lose_one(stack: Stack, containers) -> tuple[observation_pb2.ObservationBatch, int]:
    """Stops the sequencer and deletes one message of what happens then; returns it, and the last stamp sent."""
    url = stack.nats.url
    stack.wait_settled()
    stack.sequencer.stop()
    known = max(stream.read_sequences(url, "DECKWATCH_RAW"), default=0)
    batches: dict[int, observation_pb2.ObservationBatch] = {}

    def sent(container) -> bool:
        batches.clear()
        for sequence, payload in stream.read_sequences(url, "DECKWATCH_RAW").items():
            batches[sequence] = observation_pb2.ObservationBatch.FromString(payload)
        ends = (each for batch in batches.values() for each in batch.observations if each.event.action == "die")
        return any(container.id in (each.container_id, each.container.id) for each in ends)

    for _ in range(4):
        container = containers.run(["true"])
        container.wait()
        eventually(lambda container=container: sent(container), 10, "its end is sent")
    new = sorted(sequence for sequence in batches if sequence > known)
    assert len(new) > 2, "no message in the middle"
    middle = new[len(new) // 2]
    bus.delete_message(url, "DECKWATCH_RAW", middle)
    return batches[middle], last_seq(batches[new[-1]])


def last_seq(batch: observation_pb2.ObservationBatch) -> int:
    return batch.first_seq + len(batch.observations) - 1


def test_what_got_lost_is_sent_again(own_stack, containers):
    stack = own_stack
    with Listener(containers.address) as listener:
        lost, last = lose_one(stack, containers)
        stack.sequencer.start()
        entries, story = stack.wait_settled(30)
    assert story.epochs == [1] and not story.stamp_gaps, [gap.stamp for gap in story.stamp_gaps]
    stamps = {entry.stamp for entry in entries}
    assert {f"1.{seq}" for seq in range(lost.first_seq, last + 1)} <= stamps
    assert_every_event_is_told(listener.events, entries)


def test_what_nobody_can_send_again_is_a_gap(own_stack, containers):
    stack = own_stack
    lost, last = lose_one(stack, containers)
    stack.producer.kill()
    stack.sequencer.start()
    gap = f"1.{lost.first_seq}-{last_seq(lost)}"

    def goes_on() -> list[Entry]:
        entries = stack.entries()
        assert f"1.{last}" in {entry.stamp for entry in entries}, "the last one sent is not told"
        return entries

    # `--gap-wait` is 2 s.
    told = eventually(goes_on, 20, "the sequencer goes on behind the gap")
    assert [entry.stamp for entry in assert_ordered(told, stack.node).stamp_gaps] == [gap]
    (found,) = [entry.record.gap for entry in told if entry.stamp == gap]
    assert found.reason == record_pb2.GAP_REASON_NO_ANSWER and found.action, found

    meanwhile = containers.run(STUBBORN)
    stack.producer.start()
    _, story = stack.wait_settled(30)
    assert stack.store.state(meanwhile.id)["status"] == "running"
    assert story.epochs == [1, 2] and story.stamp_gaps[0].stamp == gap
    assert all(other.stamp.endswith("-") for other in story.stamp_gaps[1:]), "what it had not sent is lost with it"


def test_what_is_no_longer_kept_is_a_gap(own_stack, containers):
    """Its producer is there, in its next life, and has nothing of the one before; its hello is still on its way."""
    stack, url = own_stack, own_stack.nats.url
    lost, last = lose_one(stack, containers)
    gap, count = f"1.{lost.first_seq}-{last_seq(lost)}", len(lost.observations)
    stack.producer.stop()
    with Transport(stack.nats.port) as transport:
        transport.fate = lambda _: []
        stack.producer = stack.make_producer("producer", through=transport.url)
        stack.roles[-1] = stack.producer
        stack.producer.start()
        eventually(lambda: bus.request(url, f"deckwatch.rpc.{stack.node}.replay"), 20, "it can be asked")
        stack.sequencer.start()

        def goes_on() -> list[Entry]:
            entries = stack.entries()
            assert f"1.{last}" in {entry.stamp for entry in entries}, "the last one sent is not told"
            return entries

        told = eventually(goes_on, 20, "the sequencer goes on behind the gap")
        (found,) = assert_ordered(told, stack.node).stamp_gaps
        assert found.stamp == gap and found.record.gap.reason == record_pb2.GAP_REASON_NOT_KEPT, found
        assert found.record.gap.action, found
        samples = http.samples(stack.sequencer.port)
        assert samples['deckwatch_gaps_total{reason="not_kept"}'] == 1
        assert samples['deckwatch_gap_stamps_total{reason="not_kept"}'] == count

        transport.fate = passes
        stack.producer.wait_ready()
        meanwhile = containers.run(STUBBORN)
        _, story = stack.wait_settled(30)
        assert stack.store.state(meanwhile.id)["status"] == "running"
        assert story.epochs == [1, 2] and [each.stamp for each in story.stamp_gaps] == [gap]
        stack.producer.stop()
