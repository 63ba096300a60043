"""A disk spoils a part of the ordered record: what is kept begins after it, is without holes, and all is right again."""

import asyncio
import itertools
from pathlib import Path

import pytest

from harness.connection import connection
from harness.engine import STUBBORN
from harness.order import assert_ordered
from harness.stack import BRISK, Stack
from harness.store import assert_equals_record
from harness.wait import eventually

STATE = "DECKWATCH_STATE_0"


@pytest.fixture
def stack(tmp_path, engine, binary):
    """Its record is kept in files of 4 MiB."""
    stack = Stack(tmp_path, engine, settings=BRISK | {"DECKWATCH_STATE_MAX_BYTES": str(16 << 20)})
    try:
        yield stack.start()
    finally:
        stack.stop()


def blocks(stack: Stack) -> list[Path]:
    """The record's files, oldest first."""
    found = stack.folder.glob(f"nats/jetstream/*/streams/{STATE}/msgs/*.blk")
    return sorted(found, key=lambda path: int(path.stem))


def stream_state(stack: Stack):
    async def ask():
        async with connection(stack.nats.url) as client:
            return (await client.jetstream().stream_info(STATE)).state

    return asyncio.run(ask())


def listed_at(stack: Stack, sequence: int) -> str | None:
    """The revision of a list, once its partition's own place is so far."""
    revision = stack.ask("ps", "-o", "json").json["revision"]
    return revision if revision and int(revision.partition(".")[0].partition(":")[2]) >= sequence else None


def test_it_begins_after_its_last_hole(stack, containers):
    early = containers.run(STUBBORN)
    large = containers.run(STUBBORN, labels={"long": "x" * 15000})
    for number in itertools.count():
        if len(blocks(stack)) == 2:
            break
        large.rename(f"{containers.run_id}-{number}")
    entries, _ = stack.wait_settled()
    # Of the second file alone.
    revision = eventually(lambda: listed_at(stack, entries[-1].sequence), 10, "the partition's own place follows")
    old = entries[0]
    listed = f"0:{old.sequence}.{old.record.writer:016x}"
    stack.sequencer.kill()
    stack.nats.kill()
    spoiled = blocks(stack)[0]
    data = bytearray(spoiled.read_bytes())
    data[len(data) // 2] ^= 1
    spoiled.write_bytes(data)
    stack.nats.start()
    holed = stream_state(stack)
    assert holed.messages < holed.last_seq - holed.first_seq + 1, "the server lost some of it in its midst"
    stack.sequencer.start()
    stack.sequencer.wait_ready()
    late = containers.run(STUBBORN)
    eventually(lambda: late.id in stack.store.states(), 30, "what happens now is told")
    stack.wait_equal(30)

    def whole() -> bool:
        state = stream_state(stack)
        entries = stack.entries()
        assert_ordered(entries, stack.node, trimmed=True)
        assert_equals_record(stack.store, entries)
        assert early.id in {entry.about for entry in entries}, "all that lives is in what is kept"
        return state.messages == state.last_seq - state.first_seq + 1 and state.first_seq > 1

    eventually(whole, 30, "the record is without holes", every=0.3)
    assert stack.ask("watch", "--from", listed).code == 3, "what it begins before is gone"
    assert stack.ask("watch", "--from", revision, "--count", "1").code == 0, "what is kept is still good"
