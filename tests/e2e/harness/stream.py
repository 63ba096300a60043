"""The ordered record, read with nats-py and decoded with generated stubs."""

import asyncio
import threading
from dataclasses import dataclass

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from harness.connection import connection
from harness.state import from_record
from harness.stubs import record_pb2

STAMP = "Deckwatch-Stamp"


@dataclass(frozen=True)
class Entry:
    """One message of a state stream."""

    sequence: int
    subject: str
    stamp: str | None
    payload: bytes
    record: record_pb2.Record

    @classmethod
    def of(cls, sequence: int, subject: str, headers: dict | None, payload: bytes) -> "Entry":
        record = record_pb2.Record.FromString(payload)
        return cls(sequence, subject, (headers or {}).get(STAMP), payload, record)

    @property
    def node(self) -> str:
        return self.subject.split(".")[3]

    @property
    def about(self) -> str:
        """`node`, `gap` or a container's id."""
        return self.subject.split(".")[4]

    @property
    def kind(self) -> str:
        """Which arm the record has; for the node also which word, as `node_change.hello`.

        `event` where there is none: the event is about a container of which no state was ever known.
        """
        arm = self.record.WhichOneof("subject") or "event"
        return f"{arm}.{self.record.node_change.WhichOneof('change')}" if arm == "node_change" else arm

    @property
    def action(self) -> str | None:
        """The engine's word, where an event is behind it: `health_status` without what follows."""
        return self.record.event.action.split(":")[0] if self.record.HasField("event") else None

    @property
    def state(self) -> dict:
        return from_record(self.record.container)


def read(url: str, stream: str = "DECKWATCH_STATE_0", first: int = 1, subject: str = "") -> list[Entry]:
    """All records from sequence `first` to the stream's end as it is now."""
    return entries(asyncio.run(_read(url, stream, first, subject)))


def entries(messages: list[Msg]) -> list[Entry]:
    return [
        Entry.of(message.metadata.sequence.stream, message.subject, message.headers, message.data)
        for message in messages
    ]


def read_payloads(url: str, stream: str) -> list[bytes]:
    """The bytes of all messages that any stream holds now."""
    return list(read_sequences(url, stream).values())


def read_sequences(url: str, stream: str) -> dict[int, bytes]:
    """The same, each by its sequence."""
    return {message.metadata.sequence.stream: message.data for message in asyncio.run(_read(url, stream, 1, ""))}


async def _read(url: str, stream: str, first: int, subject: str) -> list[Msg]:
    async with connection(url) as client:
        return await pull(client, stream, first, subject)


async def pull(client: Client, stream: str, first: int = 1, subject: str = "") -> list[Msg]:
    """All messages from sequence `first` to the stream's end as it is now."""
    jetstream = client.jetstream()
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=first,
        filter_subject=subject or None,
        ack_policy=AckPolicy.NONE,
        mem_storage=True,
        inactive_threshold=30,
    )
    info = await jetstream.add_consumer(stream, config)
    pending, messages = info.num_pending or 0, []
    reader = await jetstream.pull_subscribe_bind(consumer=info.name, stream=stream)
    while len(messages) < pending:
        messages += await reader.fetch(min(pending - len(messages), 500), timeout=10)
    await jetstream.delete_consumer(stream, info.name)
    return messages


class Recorder:
    """Follows a state stream while it grows, whatever happens to the server: what a subscriber was told, and when."""

    def __init__(self, url: str, stream: str = "DECKWATCH_STATE_0"):
        self._url, self._stream = url, stream
        self.entries: list[Entry] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._follow()), daemon=True)

    def __enter__(self) -> "Recorder":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join(20)

    async def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                async with connection(self._url, timeout=1) as client:
                    await self._follow_on(client.jetstream(timeout=2))
            except Exception:  # the server is away: nats-py has many kinds of error for that
                await asyncio.sleep(0.1)

    async def _follow_on(self, jetstream) -> None:
        """Message by message from the stream's leader, so nothing depends on the life of a consumer."""
        while not self._stop.is_set():
            sequence = self.entries[-1].sequence + 1 if self.entries else 1
            try:
                message = await jetstream.get_msg(self._stream, seq=sequence)
            except NotFoundError:
                await asyncio.sleep(0.02)
                continue
            self.entries.append(Entry.of(sequence, message.subject, message.headers, message.data))


def assert_same_story(told: list[Entry], stored: list[Entry]) -> None:
    """What a subscriber was told while it happened is what stands in the stream: nothing was taken back."""
    by_sequence = {entry.sequence: entry for entry in stored}
    for entry in told:
        now = by_sequence.get(entry.sequence)
        assert now is not None, f"record {entry.sequence} ({entry.subject}) was told and is gone"
        assert (now.subject, now.payload) == (entry.subject, entry.payload), f"record {entry.sequence} was changed"
