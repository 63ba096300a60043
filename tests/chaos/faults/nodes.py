"""Nodes: without their producer, cut off, with two of them, or with one that died with much unread."""

import signal
import time

from harness import http, stream
from harness.stubs import observation_pb2
from harness.wait import eventually

from faults.base import ENGINE, LIFE, LOST, Fault
from faults.processes import SEQUENCERS

RAW = "DECKWATCH_RAW"
BACKLOG = 1000


class ProducerGone(Fault):
    """`lost`, and what it said last reads `unknown`; until it is back."""

    gaps, words, hold = LIFE | ENGINE, LOST, 0
    parts = frozenset({"producer-a"})

    def begin(self, world):
        world.roles["producer-a"].kill()
        wait_lost(world, "a")

    def during(self, world):
        states = world.store("a").states()
        assert states and {state["status"] for state in states.values()} == {"unknown"}, "a stale state is shown"

    def end(self, world):
        world.roles["producer-a"].start()


class NodeCut(Fault):
    """Between a producer and NATS nothing passes: `lost`, then `back`, and its history is complete."""

    words, hold = LOST, 0
    parts = frozenset({"producer-b"})

    def __init__(self, name: str, how: str):
        super().__init__(name)
        self._how = how

    def begin(self, world):
        for way in world.links["producer-b:nats"].ways:
            world.machinery.do(getattr(way, self._how)())
        wait_lost(world, "b")

    def end(self, world):
        for way in world.links["producer-b:nats"].ways:
            world.machinery.do(way.heal())


class TwoProducers(Fault):
    """Of one node and the same engine: the second stays passive and says so."""

    parts = frozenset({"producer-c"})

    def begin(self, world):
        self._second = world.add_producer("producer-second", "c")
        self._second.start()

    def during(self, world):
        def passive() -> bool:
            status, reason = http.readiness(self._second.port)
            return status == 503 and "producer" in reason

        eventually(passive, 30, "the second producer is not ready, and says why")
        assert self._second.process.running, "it ended"

    def end(self, world):
        world.drop(self._second)


class AnotherEngine(Fault):
    """Under a node's name: refused."""

    parts = frozenset({"producer-c"})
    hold = 0

    def begin(self, world):
        other = world.add_producer("producer-other", "c", engine=world.engines["a"])
        other.start()
        code = eventually(lambda: other.process.code, 30, "the producer of another engine ends")
        said = other.process.stderr.read_text().splitlines()[-1]
        assert code == 1 and "engine" in said, f"exit code {code}: {said}"
        other.kill()
        world.drop(other)


class DiesWithBacklog(Fault):
    """A thousand of its messages are in RAW: all of them are delivered, then it is lost."""

    gaps, words, hold = LIFE | ENGINE, LOST, 0
    parts = frozenset({"producer-a", *SEQUENCERS})

    def begin(self, world):
        for name in SEQUENCERS:
            world.roles[name].process.signal(signal.SIGSTOP)
        deadline = time.monotonic() + 60
        while len(self._waiting(world)) < BACKLOG:
            world.machinery.call(lambda: world.loads["a"].burst(200))
            assert time.monotonic() < deadline, f"only {len(self._waiting(world))} observations in RAW"
            time.sleep(0.5)
        world.roles["producer-a"].kill()
        self._stamps = self._waiting(world)

    def _waiting(self, world) -> set[tuple[int, int]]:
        """Stamps of the node in RAW, above what the record has."""
        node = world.ledger.nodes["a"]
        stamps = set()
        for payload in stream.read_sequences(world.nats.url, RAW).values():
            batch = observation_pb2.ObservationBatch.FromString(payload)
            if batch.node == "a":
                stamps |= {(batch.epoch, batch.first_seq + place) for place in range(len(batch.observations))}
        return {stamp for stamp in stamps if stamp >= (node.epoch, node.following)}

    def end(self, world):
        for name in SEQUENCERS:
            world.roles[name].process.signal(signal.SIGCONT)
        wait_lost(world, "a")
        world.read_on()
        node = world.ledger.nodes["a"]
        last = max(self._stamps)
        told = (node.epoch, node.following - 1)
        assert told >= last, f"lost after {told}, and RAW had {last}"
        world.roles["producer-a"].start()


def wait_lost(world, node: str) -> None:
    store = world.store(node)
    eventually(lambda: store.node_fields()["status"] == "lost", 60, f"{node} is lost")


def faults() -> list[Fault]:
    return [
        ProducerGone("producer-gone"),
        NodeCut("node-cut-off-silently", "black_hole"),
        NodeCut("node-cut-off-refused", "refuse"),
        TwoProducers("two-producers-of-one-node"),
        AnotherEngine("another-engine-under-a-name-that-is-taken"),
        DiesWithBacklog("producer-dies-with-a-backlog"),
    ]


