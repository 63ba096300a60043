"""Observations reordered, repeated, delayed and swallowed on their way to NATS: order and completeness hold."""

import random

import pytest

from harness import bus
from harness.churn import Churn
from harness.engine import STUBBORN
from harness.listener import Listener, assert_every_event_is_told
from harness.order import assert_ordered
from harness.sampler import Sampler
from harness.stack import Stack
from harness.store import Store
from harness.stream import Entry, Recorder, assert_same_story
from harness.stubs import container_pb2, rpc_pb2
from harness.transport import Message, Transport, passes
from harness.wait import eventually


@pytest.fixture(scope="module")
def ways(tmp_path_factory, engine, binary):
    """An installation whose producer reaches NATS by a way that can be made bad, and that way."""
    stack = Stack(tmp_path_factory.mktemp("transport"), engine)
    with Transport(stack.nats.port) as transport:
        stack.producer = stack.make_producer("producer-far", through=transport.url)
        stack.roles[-1] = stack.producer
        try:
            stack.start()
            yield stack, transport
        finally:
            stack.stop()


@pytest.fixture
def far(ways):
    yield ways
    ways[1].fate = passes


class Mischief:
    """Decides at random, and swallows a message once at most: a producer sends again what nobody acknowledges."""

    def __init__(self, seed: int):
        self._dice = random.Random(seed)
        self._swallowed: set[bytes] = set()

    def __call__(self, message: Message) -> list[float]:
        dice, kind = self._dice, self._dice.random()
        if kind < 0.35:
            return [0]
        if kind < 0.6:
            return [dice.uniform(0.01, 0.8)]
        if kind < 0.7:
            # Longer than the sequencer waits before it goes on without what is missing (`--gap-wait`, 2 s).
            return [dice.uniform(2.5, 4)]
        if kind < 0.85 or message.body in self._swallowed:
            return [0, dice.uniform(0.01, 0.5), dice.uniform(0.5, 4)]
        self._swallowed.add(message.body)
        return []


def test_order_and_completeness_hold(far, containers):
    stack, transport = far
    seed = random.randrange(2**32)
    print(f"mischief with seed {seed}")
    sampler = Sampler(Store(stack.redis.client(), stack.node))
    arrived = len(transport.arrived)
    with Listener(containers.address) as listener, Recorder(stack.nats.url) as recorder, sampler:
        with Churn(containers, threads=4) as churn:
            transport.fate = Mischief(seed)
            churn.keep_on(12)
        transport.fate = passes
        entries, story = stack.wait_settled(within=40)
    eventually(lambda: transport.on_their_way == 0, 10, "all has arrived")
    order = [message.batch.first_seq for message in transport.arrived[arrived:]]
    assert len(order) > 40 and len(set(order)) < len(order), "nothing was repeated"
    assert sum(after < before for before, after in zip(order, order[1:], strict=False)) > 5, "hardly out of order"

    assert story.epochs == [1]
    assert not story.stamp_gaps, f"stamps are lost: {[gap.stamp for gap in story.stamp_gaps]}"
    assert not story.engine_gaps, f"events are lost: {[str(gap.record.gap) for gap in story.engine_gaps]}"
    assert not sampler.steps_back and sampler.samples, sampler.steps_back
    assert_same_story(recorder.entries, entries)
    assert_every_event_is_told(listener.events, entries)


def test_all_of_it_once_more_changes_nothing(far, containers):
    """Every message of the producer's life, long after and in any order."""
    stack, transport = far
    gone = containers.run(STUBBORN)
    gone.remove(force=True)
    before, _ = stack.wait_settled()
    messages = list(transport.sent)
    random.shuffle(messages)
    transport.deliver(messages)
    state(stack, "after-the-repeats")
    entries, story = stack.wait_settled()
    assert story.epochs == [1] and not story.stamp_gaps
    assert stack.store.state(gone.id) is None and last_status(entries, gone) == "removed"
    new = entries[len(before) :]
    assert before == entries[: len(before)] and new, "the record was changed"
    last = int(next(entry.stamp for entry in reversed(before) if entry.stamp).split(".")[1])
    stamps = [entry.stamp for entry in new if entry.stamp]
    assert stamps == [f"1.{last + 1 + number}" for number in range(len(stamps))], "a repeat stands in the record"


def test_what_comes_after_the_next_life_began(far, containers):
    """The producer dies with messages on their way; they arrive when its next life has told the newer truth."""
    stack, transport = far
    stack.wait_settled()
    held: list[Message] = []
    # Nothing arrives, neither at first nor when it is sent again.
    transport.fate = lambda message: held.append(message) or []
    ghost = containers.run(STUBBORN)
    eventually(lambda: any(tells_running(message, ghost) for message in held), 10, "the ghost is sent")
    stack.producer.kill()
    transport.fate = passes
    ghost.remove(force=True)
    stack.producer.start()
    stack.producer.wait_ready()
    before, story = stack.wait_settled(30)
    assert story.epochs == [1, 2]
    (gap,) = story.stamp_gaps
    assert gap.stamp == f"1.{min(message.batch.first_seq for message in held)}-", "a gap stands for what was not heard"

    transport.deliver(held)
    state(stack, "after-the-late-ones")
    entries, story = stack.wait_settled()
    assert story.epochs == [1, 2] and len(story.stamp_gaps) == 1
    assert stack.store.state(ghost.id) is None, "a late message brought it back"
    assert all(entry.record.epoch in (0, 2) for entry in entries[len(before) :]), "the older life goes on"
    assert last_status(entries, ghost) in (None, "removed")


def tells_running(message: Message, container) -> bool:
    return any(
        each.container.id == container.id and each.container.status == container_pb2.CONTAINER_STATUS_RUNNING
        for each in message.batch.observations
    )


def last_status(entries: list[Entry], container) -> str | None:
    told = [entry for entry in entries if entry.about == container.id and entry.record.HasField("container")]
    return told[-1].state["status"] if told else None


def state(stack: Stack, request_id: str) -> None:
    """Asks for a statement and waits until it is in the record: all that arrived before it was read by then."""
    request = rpc_pb2.ResyncRequest(request_id=request_id).SerializeToString()
    bus.request(stack.nats.url, f"deckwatch.rpc.{stack.node}.resync", request)

    def stated() -> bool:
        kinds = []
        for entry in stack.entries():
            if entry.kind == "node_change.stating":
                kinds.append(request_id in entry.record.node_change.stating.request_ids)
            elif entry.kind == "node_change.listed" and kinds and kinds[-1]:
                return True
        return False

    eventually(stated, 15, f"the statement {request_id}")
    assert_ordered(stack.entries(), stack.node)
