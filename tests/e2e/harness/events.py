"""An engine that keeps events to itself: the answer to `GET /events` goes through a predicate, event by event."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from harness.proxy import Proxy

EVENTS = re.compile(rb"GET (/v[0-9.]+)?/events[? ]")

Predicate = Callable[[dict], bool]


class Censor(Proxy):
    """As a proxy; what `swallows` says yes to, of past and live events alike, nobody behind it hears of."""

    def __init__(self, path: Path, target: str):
        super().__init__(path, target)
        self.swallows: Predicate = passes
        self.swallowed: list[dict] = []

    def filter(self) -> "Filter":
        return Filter(self._keeps)

    def _keeps(self, event: dict) -> bool:
        if self.swallows(event):
            self.swallowed.append(event)
            return False
        return True


def passes(event: dict) -> bool:
    """Swallows nothing."""
    return False


def all_of(container, *actions: str) -> Predicate:
    """These events of a container, and what a network tells of it, which shows a start or an end too."""

    def swallows(event: dict) -> bool:
        actor = event.get("Actor", {})
        if event["Type"] == "network":
            return actor.get("Attributes", {}).get("container") == container.id
        return actor.get("ID") == container.id and event["Action"] in actions

    return swallows


class Filter:
    """What passes one connection on which requests follow each other: bytes in, bytes out."""

    def __init__(self, keeps: Predicate):
        self._keeps = keeps
        self._asked = False
        # Of an answer to `/events`: bytes not yet understood, whether its head has passed, the event that is begun.
        self._raw, self._in_body, self._line = b"", False, b""

    def request(self, data: bytes) -> bytes:
        if EVENTS.match(data):
            self._asked, self._in_body, self._raw, self._line = True, False, b"", b""
        return data

    def answer(self, data: bytes) -> bytes:
        if not self._asked:
            return data
        self._raw += data
        passed = b"" if self._in_body else self._head()
        while self._in_body and (chunk := self._chunk()) is not None:
            if chunk == b"":
                # The end of this answer. Whatever follows answers the next request.
                passed += b"0\r\n\r\n" + self._raw
                self._asked, self._raw = False, b""
                break
            passed += self._events(chunk)
        return passed

    def _head(self) -> bytes:
        head, end, rest = self._raw.partition(b"\r\n\r\n")
        if not end:
            return b""
        if b"transfer-encoding: chunked" not in head.lower():
            # An error, which is told in one piece.
            self._asked, self._raw = False, b""
            return head + end + rest
        self._in_body, self._raw = True, rest
        return head + end

    def _chunk(self) -> bytes | None:
        """The next whole one; an empty one is the last."""
        size, end, rest = self._raw.partition(b"\r\n")
        if not end:
            return None
        length = int(size.split(b";")[0], 16)
        if len(rest) < length + 2:
            return None
        assert rest[length : length + 2] == b"\r\n", f"no end of a chunk: {rest[length:length + 2]!r}"
        self._raw = rest[length + 2 :]
        return rest[:length]

    def _events(self, chunk: bytes) -> bytes:
        *lines, self._line = (self._line + chunk).split(b"\n")
        kept = b"".join(line + b"\n" for line in lines if not line.strip() or self._keeps(json.loads(line)))
        return b"%x\r\n%b\r\n" % (len(kept), kept) if kept else b""
