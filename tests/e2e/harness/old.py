"""Servers that are too old."""

import re
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

from harness.paths import TOOLS
from harness.ports import free_port, listening
from harness.process import Process
from harness.wait import eventually


class OldNats:
    """Debian 12's nats-server. Use as a context."""

    def __init__(self):
        self.program = TOOLS.parent / "old" / "usr" / "sbin" / "nats-server"
        assert self.program.exists(), f"{self.program} is missing: run `scripts/tools e2e`"
        said = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True).stdout
        self.version = re.search(r"\d+\.\d+\.\d+", said)[0]
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"

    def __enter__(self) -> "OldNats":
        self._folder = tempfile.TemporaryDirectory(prefix="deckwatch-old-")
        argv = [self.program, "--addr", "127.0.0.1", "--port", self.port, "--jetstream", "--store_dir", self._folder.name]
        self._process = Process("old-nats-server", argv, Path(self._folder.name)).start()
        eventually(lambda: listening(self.port), 20, "an old nats-server is up")
        return self

    def __exit__(self, *_) -> None:
        self._process.stop()
        self._folder.cleanup()


class OldRedis:
    """Redis 6, which has no functions, as far as a client can see: no Debian that is kept up has one. Use as a context.

    Answers each connection in a thread of its own.
    """

    version = "6.0.16"

    def __init__(self):
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"

    def __enter__(self) -> "OldRedis":
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
                self._answer(connection, lines)
            except (OSError, ValueError):
                pass  # The client went away, or said what no client says.

    def _answer(self, connection, lines) -> None:
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
