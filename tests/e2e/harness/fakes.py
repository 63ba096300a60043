"""Servers that are too old, as far as a client can see."""

import json
import socket
import threading

from harness.ports import free_port


class Fake:
    """Answers each connection in a thread of its own. Use as a context."""

    scheme = ""

    def __init__(self):
        self.port = free_port()
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        # Wakes the thread that accepts; `close` alone would not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            try:
                self.answer(connection, lines)
            except (OSError, ValueError):
                pass  # The client went away, or said what no client says.

    def answer(self, connection: socket.socket, lines) -> None:
        raise NotImplementedError


class OldNats(Fake):
    """Debian 12's nats-server, as far as its first words go."""

    scheme = "nats"
    version = "2.9.10"

    def answer(self, connection, lines) -> None:
        info = {
            "server_id": "OLD", "server_name": "old", "version": self.version, "go": "go1.19", "host": "127.0.0.1",
            "port": self.port, "headers": True, "max_payload": 1048576, "proto": 1, "jetstream": True, "client_id": 1,
        }  # fmt: skip
        connection.sendall(f"INFO {json.dumps(info)}\r\n".encode())
        for line in lines:
            if line.upper().startswith(b"PING"):
                connection.sendall(b"PONG\r\n")


class OldRedis(Fake):
    """Redis 6: it has no functions."""

    scheme = "redis"
    version = "6.0.16"

    def answer(self, connection, lines) -> None:
        while header := lines.readline():
            words = []
            for _ in range(int(header[1:])):
                size = int(lines.readline()[1:])
                words.append(lines.read(size + 2)[:-2].decode().upper())
            connection.sendall(self._reply(words))

    def _reply(self, words: list[str]) -> bytes:
        if words[0] == "PING":
            return b"+PONG\r\n"
        if words[0] in ("SELECT", "AUTH") or words[:2] == ["CLIENT", "SETNAME"]:
            return b"+OK\r\n"
        if words[0] == "INFO":
            text = f"# Server\r\nredis_version:{self.version}\r\nredis_mode:standalone\r\n"
            return f"${len(text)}\r\n{text}\r\n".encode()
        return f"-ERR unknown command `{words[0]}`\r\n".encode()
