"""What the reconciler asks a producer, and what it makes of an answer that does not fit the store."""

import pytest
from google.protobuf.message import DecodeError

from harness import bus, http
from harness.engine import STUBBORN
from harness.stack import BRISK, Stack
from harness.stubs import rpc_pb2
from harness.transport import Fate, Message, Transport, passes
from harness.wait import eventually

INTERVAL = 1.0


class Doubted:
    """An installation in which answers of the producer can be made wrong on their way."""

    def __init__(self, stack: Stack, transport: Transport):
        self.stack, self.transport = stack, transport
        self.reconciler = stack.make_reconciler("reconciler", "--interval", f"{INTERVAL:g}s")
        stack.roles.append(self.reconciler)

    @property
    def drifts(self) -> dict[str, float]:
        """By kind."""
        samples = http.samples(self.reconciler.port).items()
        return {name: count for name, count in samples if name.startswith("deckwatch_drifts_total")}

    @property
    def looks(self) -> int:
        """Snapshots that were asked for and answered."""
        return bus.requests_answered(self.stack.nats.url, f"deckwatch-{self.stack.node}", "snapshot")

    def wait_looks(self, count: int) -> None:
        """So many that begin from now on are over."""
        before = self.looks
        # One may be under way.
        eventually(lambda: self.looks > before + count, 4 * INTERVAL * (count + 2), f"{count} looks")

    def ask(self, **request) -> rpc_pb2.SnapshotResponse:
        payload = rpc_pb2.SnapshotRequest(**request).SerializeToString()
        subject = f"deckwatch.rpc.{self.stack.node}.snapshot"
        return rpc_pb2.SnapshotResponse.FromString(bus.request(self.stack.nats.url, subject, payload))


@pytest.fixture(scope="module")
def doubted(tmp_path_factory, engine, binary):
    stack = Stack(tmp_path_factory.mktemp("doubts"), engine, settings=BRISK)
    with Transport(stack.nats.port, prefix="_INBOX.") as transport:
        stack.producer = stack.make_producer("producer-far", through=transport.url)
        stack.roles[-1] = stack.producer
        made = Doubted(stack, transport)
        try:
            engine.run(STUBBORN)
            stack.start()
            yield made
        finally:
            engine.remove_all()
            stack.stop()


def test_a_quiet_node_is_asked_by_its_digest(doubted):
    stack = doubted.stack
    stack.wait_settled()
    doubted.wait_looks(2)
    subject = f"deckwatch.rpc.{stack.node}.snapshot"
    heard = bus.overhear(stack.nats.url, subject, lambda: None, lambda heard: len(heard) >= 3)
    asked = [rpc_pb2.SnapshotRequest.FromString(message.data) for message in heard]
    for request in asked:
        assert request.digest and not request.inspect_all and not request.page_token, request
        assert doubted.ask(digest=request.digest, digest_version=request.digest_version).same


class Wrong:
    """Tells of another image in so many of the next answers that are snapshots."""

    def __init__(self, doubted: Doubted, count: int):
        self._transport, self._left = doubted.transport, count
        self._states = doubted.ask().containers
        self._states[0].image = "other"
        self.container = self._states[0].id

    def __call__(self, message: Message) -> Fate:
        answer = snapshot(message)
        if answer is None or self._left == 0:
            return [0]
        self._left -= 1
        answer.same = False
        del answer.containers[:]
        answer.containers.extend(self._states)
        body = answer.SerializeToString()
        head = b"PUB %b %d\r\n" % (message.head.split()[1], len(body))
        self._transport.deliver([Message(head, body + b"\r\n")])
        return []

    @property
    def told(self) -> bool:
        return self._left == 0


def snapshot(message: Message) -> rpc_pb2.SnapshotResponse | None:
    """Answers to other requests have no digest, or are no such message at all."""
    if not message.head.startswith(b"PUB "):
        return None
    try:
        answer = rpc_pb2.SnapshotResponse.FromString(message.body[:-2])
    except DecodeError:
        return None
    return answer if answer.digest else None


@pytest.fixture
def wrong(doubted):
    """Makes answers wrong; the number is how many in a row."""
    doubted.stack.wait_settled()

    def begin(count: int) -> Wrong:
        doubted.transport.fate = Wrong(doubted, count)
        eventually(lambda: doubted.transport.fate.told, 20, "the wrong answers are told")
        return doubted.transport.fate

    yield begin
    doubted.transport.fate = passes


def test_one_answer_that_does_not_fit_is_no_drift(doubted, wrong):
    """What explains it may be under way: the next look is to find it too."""
    counted, named = doubted.drifts, doubted.stack.corrections()
    wrong(1)
    doubted.wait_looks(2)
    assert doubted.drifts == counted and doubted.stack.corrections() == named


def test_two_answers_that_do_not_fit_are_a_lost_message(doubted, wrong):
    """Redis holds what the record says, and the engine says something else: a message got lost."""
    counted, named = doubted.drifts, len(doubted.stack.corrections())
    told = wrong(2)

    eventually(lambda: len(doubted.stack.corrections()) > named, 20, "`gaps` names it")
    doubted.wait_looks(2)
    lost = {"drift": "lost_message", "container_id": told.container, "fields": ["image"]}
    assert doubted.stack.corrections()[named:] == [lost]
    kind = 'deckwatch_drifts_total{kind="lost_message"}'
    assert doubted.drifts == counted | {kind: counted.get(kind, 0) + 1}
    doubted.stack.wait_settled()
