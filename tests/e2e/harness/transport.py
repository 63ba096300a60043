"""A bad way from a producer to NATS: what it publishes for the sequencer comes late, twice, in another order, or never.

Everything else passes as it is. A message that is kept back is published by a connection of its own, with the reply
subject that it had: it arrives even if its sender is gone by then, as one does that a router held.
"""

import heapq
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.ports import free_port
from harness.stubs import observation_pb2

# When a message is to arrive, in seconds from now, once for each time it does. Empty: it is swallowed.
Fate = list[float]


@dataclass(frozen=True)
class Message:
    """What was published to the subjects of observations, as it stood on the wire."""

    head: bytes
    body: bytes

    @property
    def batch(self) -> observation_pb2.ObservationBatch:
        words = self.head.split()
        headers = int(words[-2]) if words[0].upper() == b"HPUB" else 0
        return observation_pb2.ObservationBatch.FromString(self.body[headers:-2])


def passes(_: Message) -> Fate:
    return [0]


class Transport:
    """Use as a context. `fate` decides about each message, and may be changed at any time."""

    def __init__(self, port: int, prefix: str = "deckwatch.raw."):
        self.port, self._server, self._prefix = free_port(), port, prefix.encode()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.fate: Callable[[Message], Fate] = passes
        # What the producer published, and what arrived, each in its order.
        self.sent: list[Message] = []
        self.arrived: list[Message] = []
        self._late: list[tuple[float, int, Message]] = []
        self._number = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> "Transport":
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._sockets.append(self._listener)
        for work in (self._accept, self._deliver_late):
            threading.Thread(target=work, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for each in self._sockets:
            _end(each)
            each.close()

    def deliver(self, messages: list[Message]) -> None:
        """Publishes these, in this order; returns when the server has them."""
        if not messages:
            return
        with socket.create_connection(("127.0.0.1", self._server), 5) as server, server.makefile("rb") as lines:
            assert lines.readline().startswith(b"INFO")
            options = {"verbose": False, "pedantic": False, "headers": True, "lang": "test", "version": "1"}
            server.sendall(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
            for message in messages:
                server.sendall(message.head + message.body)
            server.sendall(b"PING\r\n")
            for line in lines:
                assert not line.startswith(b"-ERR"), line
                if line.startswith(b"PONG"):
                    break
        with self._changed:
            self.arrived += messages

    @property
    def on_their_way(self) -> int:
        return len(self._late)

    # --- the work ---

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._server), 5)
            except OSError:
                client.close()
                continue
            self._sockets += [client, server]
            threading.Thread(target=_pump, args=(server, client), daemon=True).start()
            threading.Thread(target=self._read, args=(client, server), daemon=True).start()

    def _read(self, client: socket.socket, server: socket.socket) -> None:
        """From the client to the server, operation by operation."""
        try:
            with client.makefile("rb") as lines:
                while head := lines.readline():
                    words = head.split()
                    if words[:1] not in ([b"PUB"], [b"HPUB"]):
                        server.sendall(head)
                        continue
                    body = lines.read(int(words[-1]) + 2)
                    message = Message(head, body)
                    if not words[1].startswith(self._prefix) or self._passes(message):
                        server.sendall(head + body)
        except OSError:
            pass  # One of the two is gone.
        _end(server)
        _end(client)

    def _passes(self, message: Message) -> bool:
        """Whether it goes on at once; what else becomes of it is noted."""
        times = self.fate(message)
        with self._changed:
            self.sent.append(message)
            for seconds in times:
                if seconds > 0:
                    heapq.heappush(self._late, (time.monotonic() + seconds, next(self._number), message))
            self._changed.notify_all()
            if 0 in times:
                self.arrived.append(message)
        return 0 in times

    def _deliver_late(self) -> None:
        while not self._closed:
            with self._changed:
                due = []
                while self._late and self._late[0][0] <= time.monotonic():
                    due.append(heapq.heappop(self._late)[2])
                if not due:
                    self._changed.wait(max(self._late[0][0] - time.monotonic(), 0) if self._late else None)
                    continue
            self.deliver(due)


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass  # One of the two is gone.
    _end(target)


def _end(each: socket.socket) -> None:
    try:
        each.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # It had ended.
