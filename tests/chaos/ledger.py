"""What the ordered record promises, checked record by record, whatever happened. Nothing here is the program's code.

Promise 1: the stamps of a node are 1, 2, 3… of each epoch, in order, each once. Promise 2: or a gap stands there.
Promise 4: no container steps back. Promise 5: what is removed stays so, until a fresher look finds it.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.stream import Entry
from harness.stubs import container_pb2, record_pb2

ONE = re.compile(r"(\d+)\.(\d+)")
RANGE = re.compile(r"(\d+)\.(\d+)-(\d*)")
REMOVED = container_pb2.CONTAINER_STATUS_REMOVED


@dataclass
class Told:
    """What the record said of one container last."""

    fresh: tuple[int, int]
    removed: bool
    entry: Entry


@dataclass
class Node:
    epoch: int = 0
    following: int = 1
    # An open gap: up to the next hello.
    is_open: bool = False
    # The stream has a hole here, and what the node said in it is not known.
    is_unknown: bool = False
    containers: dict[str, Told] = field(default_factory=dict)


class Ledger:
    """Takes the records of one partition's stream in order; `violations` says what was wrong with them."""

    def __init__(self, damaged: bool = False):
        """A `damaged` copy of the record may have holes; beyond these all holds again."""
        self._damaged, self.holes = damaged, 0
        self.nodes: dict[str, Node] = {}
        self.violations: list[str] = []
        self.last = 0
        self.records = self.stamps = 0
        # By node: reasons of gaps, and what was said of the node.
        self.gaps: Counter[tuple[str, str]] = Counter()
        self.words: Counter[tuple[str, str]] = Counter()
        self.corrections: Counter[tuple[str, str]] = Counter()
        # Every event that the record tells: id, action and time.
        self.events: set[tuple[str, str, int]] = set()
        self._writer = 0
        self._former: set[int] = set()
        # Each record's bytes, told by a hash of eight bytes.
        self._said: dict[int, bytes] = {}

    def take(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._take(entry)

    def differs_from(self, entry: Entry) -> bool:
        """This record was told, and another one."""
        return self._said.get(entry.sequence, _hash(entry)) != _hash(entry)

    def states(self, node: str) -> dict[str, Entry]:
        """The last record of each container that lives by what the record says."""
        told = self.nodes[node].containers if node in self.nodes else {}
        return {about: each.entry for about, each in told.items() if not each.removed}

    def _take(self, entry: Entry) -> None:
        where = f"record {entry.sequence} ({entry.subject}, {entry.stamp})"
        if self.last and entry.sequence != self.last + 1:
            self._take_hole(f"{where} follows {self.last}: the stream has a hole")
        self.last, self.records = entry.sequence, self.records + 1
        self._said[entry.sequence] = _hash(entry)
        node = self.nodes.setdefault(entry.node, Node())
        self._follow_writer(entry, where)
        if entry.stamp is not None:
            self._follow_stamp(node, entry, where)
        record = entry.record
        if record.HasField("event"):
            self.events.add((entry.about, record.event.action, record.event.time.ToNanoseconds()))
        if record.HasField("container"):
            self._follow_container(node, entry, where)
        elif record.HasField("gap"):
            self.gaps[entry.node, record_pb2.GapReason.Name(record.gap.reason)] += 1
        elif record.HasField("correction"):
            self.corrections[entry.node, record_pb2.DriftKind.Name(record.correction.drift)] += 1
        elif record.HasField("node_change"):
            self.words[entry.node, record.node_change.WhichOneof("change")] += 1

    def _take_hole(self, text: str) -> None:
        self.holes += 1
        if not self._damaged:
            self._say(text)
        for node in self.nodes.values():
            node.is_unknown = True

    def _follow_writer(self, entry: Entry, where: str) -> None:
        """A writing life that ended does not write again: that is what the fence is for."""
        writer = entry.record.writer
        if writer == self._writer:
            return
        if writer in self._former:
            self._say(f"{where} is of a writer whose life had ended")
        self._former.add(writer)
        self._writer = writer

    def _follow_stamp(self, node: Node, entry: Entry, where: str) -> None:
        if node.is_unknown or self.holes and not node.epoch:
            if found := ONE.match(entry.stamp):
                self._know_again(node, int(found[1]), int(found[2]), where)
        after = f"{where} after {node.epoch}.{node.following - 1}{'-' if node.is_open else ''}"
        if found := RANGE.fullmatch(entry.stamp):
            if not entry.record.HasField("gap"):
                self._say(f"{where} is no gap")
            if (int(found[1]), int(found[2])) != (node.epoch, node.following) or node.is_open:
                self._say(f"{after}: a gap at another place")
            node.epoch, node.is_open = int(found[1]), found[3] == ""
            node.following = int(found[3] or int(found[2]) - 1) + 1
            return
        found = ONE.fullmatch(entry.stamp)
        if not found:
            self._say(f"{where}: not a stamp")
            return
        self.stamps += 1
        epoch, seq = int(found[1]), int(found[2])
        if (entry.record.epoch, entry.record.seq) != (epoch, seq):
            self._say(f"{where} says {entry.record.epoch}.{entry.record.seq} inside")
        if epoch != node.epoch:
            self._begin_epoch(node, entry, epoch, seq, after)
        elif node.is_open:
            self._say(f"{after}: its epoch was closed")
        elif seq != node.following:
            self._say(f"{after}: {'twice' if seq < node.following else 'a hole'}")
        node.epoch, node.following, node.is_open = epoch, seq + 1, False

    def _know_again(self, node: Node, epoch: int, seq: int, where: str) -> None:
        """Beyond a hole the node goes on from wherever it stands then, and not from before."""
        if (epoch, seq) < (node.epoch, node.following):
            self._say(f"{where} is older than what stood before the hole: {node.epoch}.{node.following - 1}")
        node.epoch, node.following, node.is_open, node.is_unknown = epoch, seq, False, False

    def _begin_epoch(self, node: Node, entry: Entry, epoch: int, seq: int, after: str) -> None:
        change = entry.record.node_change
        if epoch < node.epoch:
            self._say(f"{after}: back to an older epoch")
        if seq != 1 or change.WhichOneof("change") != "hello":
            self._say(f"{after}: an epoch without its hello")
        if node.is_open:
            return
        if epoch != node.epoch + 1:
            self._say(f"{after}: epochs between, and no gap")
        previous = (change.hello.previous.epoch, change.hello.previous.last_seq)
        if node.epoch and previous != (node.epoch, node.following - 1):
            self._say(f"{after}: no gap, and its hello names the end {previous}")

    def _follow_container(self, node: Node, entry: Entry, where: str) -> None:
        container, record = entry.record.container, entry.record
        if (record.node, record.container_id, container.id) != (entry.node, entry.about, entry.about):
            self._say(f"{where} holds something else")
        fresh, removed = (container.epoch, container.as_of), container.status == REMOVED
        before = node.containers.get(entry.about)
        if before:
            if fresh < before.fresh:
                self._say(f"{where} steps back from {before.fresh} to {fresh}")
            if record.repeated and (fresh, removed) != (before.fresh, before.removed):
                self._say(f"{where} repeats another state: {before.fresh} and {fresh}")
            if before.removed and not removed and fresh <= before.fresh:
                self._say(f"{where} rises from the dead at {fresh}, removed at {before.fresh}")
        node.containers[entry.about] = Told(fresh, removed, entry)

    def _say(self, text: str) -> None:
        self.violations.append(text)


def _hash(entry: Entry) -> bytes:
    return hashlib.blake2b(entry.subject.encode() + entry.payload, digest_size=8).digest()
