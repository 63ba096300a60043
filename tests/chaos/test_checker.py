"""The checker of the ordered record finds what it is there to find; the ways are as bad as they say."""

import asyncio

import pytest

from harness.ports import free_port
from harness.stream import Entry
from harness.stubs import container_pb2
from test_checkers import ID, gap, hello, record

from ledger import Ledger
from way import Way

RUNNING, REMOVED = container_pb2.CONTAINER_STATUS_RUNNING, container_pb2.CONTAINER_STATUS_REMOVED


def state(stamp: str, as_of: int, status=RUNNING, **fields) -> Entry:
    epoch = int(stamp.split(".")[0])
    container = container_pb2.Container(id=ID, node="n1", epoch=epoch, as_of=as_of, status=status)
    return record(stamp, container=container, **fields)


def other_writer(entry: Entry, writer: int) -> Entry:
    entry.record.writer = writer
    return Entry.of(entry.sequence, entry.subject, {"Deckwatch-Stamp": entry.stamp}, entry.record.SerializeToString())


def violations(entries: list[Entry]) -> list[str]:
    ledger = Ledger()
    ledger.take(entries)
    return ledger.violations


@pytest.mark.parametrize(
    "entries",
    [
        lambda: [hello(1), state("1.2", 5), state("1.3", 5, repeated=True), hello(2, (1, 3)), state("2.2", 1)],
        lambda: [gap(0, 1, None), hello(7), state("7.2", 1), gap(7, 3, 9), state("7.10", 2)],
        lambda: [hello(1), gap(1, 2, None), hello(5), state("5.2", 1)],
        lambda: [hello(1), state("1.2", 5, REMOVED), state("1.3", 5, REMOVED, removed=True), state("1.4", 6)],
    ],
)
def test_what_is_right_passes(entries):
    assert violations(entries()) == []


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        (lambda: [hello(1), state("1.3", 1)], "a hole"),
        (lambda: [hello(1), state("1.2", 1), state("1.2", 1)], "twice"),
        (lambda: [hello(1), gap(1, 3, 4)], "a gap at another place"),
        (lambda: [hello(1), gap(1, 2, None), state("1.2", 1)], "its epoch was closed"),
        (lambda: [hello(2)], "epochs between"),
        (lambda: [hello(1), hello(2, (1, 9))], "names the end"),
        (lambda: [hello(1), hello(2, (1, 1)), hello(1)], "back to an older epoch"),
        (lambda: [state("1.1", 1)], "without its hello"),
        (lambda: [hello(1), state("1.2", 5), state("1.3", 4)], "steps back"),
        (lambda: [hello(1), state("1.2", 5), state("1.3", 6, repeated=True)], "repeats another state"),
        (lambda: [hello(1), state("1.2", 5, REMOVED), state("1.3", 5)], "rises from the dead"),
        (lambda: [hello(1), other_writer(state("1.2", 1), 2), state("1.3", 2)], "whose life had ended"),
    ],
)
def test_what_is_wrong_is_found(entries, complaint):
    found = violations(entries())
    assert any(complaint in text for text in found), found


def test_beyond_a_hole_all_holds_again():
    told = [hello(1), state("1.2", 1), state("1.3", 2), state("1.4", 3), state("1.5", 4), state("1.7", 5)]
    ledger = Ledger(damaged=True)
    ledger.take([*told[:2], told[3], told[5]])
    assert ledger.holes == 2 and ledger.violations == []
    ledger.take([state("1.9", 6)])
    assert "a hole" in ledger.violations[0]


def test_a_record_that_was_changed_is_found():
    ledger, told = Ledger(), [hello(1), state("1.2", 1)]
    ledger.take(told)
    assert not ledger.differs_from(told[1])
    assert ledger.differs_from(Entry.of(told[1].sequence, told[1].subject, {}, told[1].payload + b"\x08\x01"))


# --- ways ---


@pytest.mark.parametrize("how", ["reset", "cut", "black_hole", "half_close", "refuse", "slow", "latency"])
def test_a_way_is_bad_and_heals(how):
    asyncio.run(through(how))


async def through(how: str) -> None:
    """An echo is asked by the way: before, while it is bad, and after."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    way = Way("way", f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{free_port()}")
    await way.open()
    assert await asked(way)
    await getattr(way, how)()
    # What is merely slow brings all of it, in time.
    assert await asked(way, size=40_000) == (how in ("slow", "latency"))
    await way.heal()
    assert await asked(way, size=40_000)
    await way.close()
    server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # Its way was broken.
    writer.close()


async def asked(way: Way, size: int = 10) -> bool:
    """All that was said came back, on one connection that stayed open meanwhile."""
    host, port = way.address.removeprefix("tcp://").split(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in range(2):
            writer.write(b"x" * size)
            if len(await asyncio.wait_for(reader.readexactly(size), 2)) < size:
                return False
            # Longer than it takes to break all connections again.
            await asyncio.sleep(0.8)
        writer.close()
        return True
    except (OSError, EOFError, TimeoutError, asyncio.TimeoutError):
        return False
