"""A way between two parts, which a fault can make bad: TCP or a Unix socket, forwarded byte by byte."""

import asyncio
import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

# Linger for no time: closing sends a reset.
AT_ONCE = struct.pack("ii", 1, 0)
CHUNK = 65536

# How often what breaks connections breaks them again.
BREAK_EVERY = 0.7


class Way:
    """Lives in an event loop. `address` is where a part reaches the target by it."""

    def __init__(self, name: str, target: str, address: str):
        self.name, self.target, self.address = name, target, address
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._breaking: asyncio.Task | None = None
        self._open = asyncio.Event()
        self._open.set()
        self.delay: Callable[[int], float] = _none
        # How many bytes each connection still carries before it is reset; no limit where there is none.
        self.bytes_left: Callable[[], int] | None = None

    async def open(self) -> None:
        self._server = await _listen(self._accept, self.address)

    async def close(self) -> None:
        """Refuses who comes, and ends every connection."""
        if self._server:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.reset()

    # --- how it is bad; `heal` ends each of them ---

    async def refuse(self) -> None:
        await self.close()

    async def black_hole(self) -> None:
        """Nothing comes through, and nobody is told."""
        self._open.clear()

    async def reset(self) -> None:
        """Every connection is reset, again and again."""
        self._breaking = asyncio.create_task(self._break(Connection.reset))

    async def half_close(self) -> None:
        """The server's side of every connection ends, again and again; what the client says still arrives."""
        self._breaking = asyncio.create_task(self._break(Connection.half_close))

    async def cut(self) -> None:
        """Every connection is reset after some bytes, in the middle of whatever they were."""
        self.bytes_left = lambda: random.randrange(1, 20_000)
        for connection in self._connections:
            connection.left = self.bytes_left()

    async def slow(self) -> None:
        self.delay = lambda count: 0.005 + count / 100_000

    async def latency(self) -> None:
        self.delay = lambda _: random.uniform(0.1, 0.3)

    async def heal(self) -> None:
        if self._breaking:
            self._breaking.cancel()
            self._breaking = None
        self.delay, self.bytes_left = _none, None
        for connection in self._connections:
            connection.left = None
        self._open.set()
        if not self._server:
            await self.open()

    async def _break(self, how: Callable[["Connection"], None]) -> None:
        while True:
            for connection in list(self._connections):
                how(connection)
            await asyncio.sleep(BREAK_EVERY)

    # --- the work ---

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await _connect(self.target)
        except OSError:
            writer.transport.abort()
            return
        connection = Connection(writer, there[1], self.bytes_left and self.bytes_left())
        self._connections.add(connection)
        try:
            await asyncio.gather(
                self._pump(connection, reader, there[1], "to"), self._pump(connection, there[0], writer, "from")
            )
        finally:
            self._connections.discard(connection)
            writer.close()
            there[1].close()

    async def _pump(self, connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if seconds := self.delay(len(data)):
                    await asyncio.sleep(seconds)
                await self._open.wait()
                if connection.left is not None:
                    data, connection.left = data[: connection.left], connection.left - len(data)
                if way == "to" or not connection.half_closed:
                    writer.write(data)
                    await writer.drain()
                if connection.left is not None and connection.left <= 0:
                    connection.reset()
                    return
            await self._open.wait()
            if writer.can_write_eof():
                writer.write_eof()


class Connection:
    """Both ends of what is forwarded."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter, left: int | None):
        self._client, self._server = client, server
        self.left, self.half_closed = left, False

    def reset(self) -> None:
        for writer in (self._client, self._server):
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            writer.transport.abort()

    def half_close(self) -> None:
        if self.half_closed:
            # It was left so until now, and its client did not let go of it.
            self.reset()
            return
        self.half_closed = True
        with suppress(OSError):
            self._client.write_eof()


def _none(_: int) -> float:
    return 0


async def _listen(accept, address: str) -> asyncio.Server:
    kind, _, where = address.partition("://")
    if kind == "unix":
        return await asyncio.start_unix_server(accept, where, limit=CHUNK)
    host, _, port = where.partition(":")
    return await asyncio.start_server(accept, host, int(port), limit=CHUNK, reuse_address=True)


async def _connect(target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    kind, _, where = target.partition("://")
    if kind == "unix":
        return await asyncio.open_unix_connection(where, limit=CHUNK)
    host, _, port = where.partition(":")
    return await asyncio.open_connection(host, int(port), limit=CHUNK)
