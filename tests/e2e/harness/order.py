"""Promises 1, 2 and 4, checked on a stream that was read: order, no hole, no repeat, no step back."""

import re
from dataclasses import dataclass, field

from harness.stream import Entry

ONE = re.compile(r"(\d+)\.(\d+)")
RANGE = re.compile(r"(\d+)\.(\d+)-(\d*)")


@dataclass
class Story:
    """What a node's records say about its stamps."""

    epochs: list[int] = field(default_factory=list)
    stamp_gaps: list[Entry] = field(default_factory=list)
    engine_gaps: list[Entry] = field(default_factory=list)


def assert_ordered(entries: list[Entry], node: str, trimmed: bool = False) -> Story:
    """`trimmed` where the record no longer begins with what it began with."""
    entries = [entry for entry in entries if entry.node == node]
    assert entries, f"no record of {node}"
    for entry in entries:
        _assert_names_itself(entry)
    _assert_no_step_back(entries)
    return _follow_stamps(entries, _first(entries) if trimmed else (0, 1))


def _assert_names_itself(entry: Entry) -> None:
    record, where = entry.record, f"record {entry.sequence} ({entry.subject}, {entry.stamp})"
    assert record.node == entry.node, f"{where} says node {record.node}"
    stamped = entry.stamp is not None and ONE.fullmatch(entry.stamp)
    said = (record.epoch, record.seq)
    assert said == (_numbers(stamped) if stamped else (0, 0)), f"{where} bears the stamp {said}"
    if entry.about in ("node", "gap"):
        expected = ("node_change",) if entry.about == "node" else ("gap", "correction")
        assert record.WhichOneof("subject") in expected, f"{where} is about {entry.kind}"
        return
    assert record.container_id == entry.about, f"{where} is about {record.container_id}"
    if record.HasField("container"):
        container = record.container
        assert (container.id, container.node) == (entry.about, entry.node), f"{where} holds another container"
        if stamped and not record.repeated and not record.removed:
            assert (container.epoch, container.seq) == said, f"{where} holds a state of another stamp"


def _assert_no_step_back(entries: list[Entry]) -> None:
    newest: dict[str, tuple[int, int]] = {}
    for entry in entries:
        if not entry.record.HasField("container"):
            continue
        container = entry.record.container
        fresh = (container.epoch, container.as_of)
        before = newest.get(entry.about, (0, 0))
        assert fresh >= before, f"record {entry.sequence} ({entry.subject}) steps back from {before} to {fresh}"
        newest[entry.about] = fresh


def _first(entries: list[Entry]) -> tuple[int, int]:
    stamp = next(entry.stamp for entry in entries if entry.stamp is not None)
    return _numbers(ONE.match(stamp))


def _follow_stamps(entries: list[Entry], first: tuple[int, int]) -> Story:
    """Over all subjects of the node the stamps are 1, 2, 3… of each epoch, in order, each once."""
    story = Story()
    (epoch, following), open_gap = first, False
    for entry in entries:
        if entry.record.HasField("gap") and not entry.record.gap.HasField("epoch"):
            story.engine_gaps.append(entry)
        if entry.stamp is None:
            continue
        where = f"record {entry.sequence} ({entry.subject}) has the stamp {entry.stamp}"
        if gap := RANGE.fullmatch(entry.stamp):
            _assert_gap_says_so(entry, gap)
            story.stamp_gaps.append(entry)
            assert (int(gap[1]), int(gap[2])) == (epoch, following), f"{where} after {epoch}.{following - 1}"
            assert not open_gap, f"{where} after an open gap"
            open_gap = gap[3] == ""
            following = int(gap[3] or following - 1) + 1
            continue
        stamped = ONE.fullmatch(entry.stamp)
        assert stamped, f"{where}: not a stamp"
        new_epoch, seq = _numbers(stamped)
        if new_epoch != epoch:
            assert new_epoch > epoch, f"{where} after epoch {epoch}"
            assert (seq, entry.kind) == (1, "node_change.hello"), f"{where}: a new epoch begins with its hello"
            if not open_gap:
                _assert_follows(entry, epoch, following - 1)
            epoch, following, open_gap = new_epoch, 1, False
            story.epochs.append(epoch)
        assert not open_gap, f"{where} after an open gap of its epoch"
        assert seq == following, f"{where} after {epoch}.{following - 1}"
        following += 1
    return story


def _assert_follows(entry: Entry, epoch: int, last: int) -> None:
    """Without a gap, a hello names the end of the epoch just below it."""
    new_epoch = entry.record.epoch
    assert new_epoch == epoch + 1, f"record {entry.sequence}: from epoch {epoch} to {new_epoch} without a gap"
    if epoch:
        previous = entry.record.node_change.hello.previous
        assert (previous.epoch, previous.last_seq) == (epoch, last), (
            f"record {entry.sequence}: no gap after {epoch}.{last}, and its hello names {previous}"
        )


def _assert_gap_says_so(entry: Entry, header: re.Match) -> None:
    gap = entry.record.gap
    assert entry.kind == "gap", f"record {entry.sequence} has the stamp {entry.stamp} and is no gap"
    said = (gap.epoch, gap.from_seq, gap.to_seq if gap.HasField("to_seq") else None)
    expected = (int(header[1]), int(header[2]), int(header[3]) if header[3] else None)
    assert said == expected, f"record {entry.sequence}: header {entry.stamp}, gap {said}"


def _numbers(match: re.Match) -> tuple[int, int]:
    return int(match[1]), int(match[2])
