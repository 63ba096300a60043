"""An engine's socket at another path, which a test can close: the engine is out of reach and runs on."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path


class Proxy:
    """Use as a context: it is open on entry and closed on exit."""

    def __init__(self, path: Path, target: str):
        self._path, self._target = path, target
        self.address = f"unix://{path}"
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._sockets: set[socket.socket] = set()

    def __enter__(self) -> "Proxy":
        self.open()
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def filter(self) -> "Unchanged":
        """What a connection's bytes go through."""
        return Unchanged()

    def open(self) -> None:
        assert self._listener is None, "it is open already"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Refuses who comes, and ends every connection."""
        with self._lock:
            listener, self._listener = self._listener, None
            sockets, self._sockets = self._sockets, set()
        if listener:
            self._path.unlink()
            _end(listener)
            listener.close()
        for each in sockets:
            _end(each)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                engine = _connect(self._target)
            except OSError:
                client.close()
                continue
            with self._lock:
                if self._listener is not listener:
                    client.close()
                    engine.close()
                    return
                self._sockets |= {client, engine}
            threading.Thread(target=self._serve, args=(client, engine), daemon=True).start()

    def _serve(self, client: socket.socket, engine: socket.socket) -> None:
        through = self.filter()
        there = threading.Thread(target=_pump, args=(client, engine, through.request), daemon=True)
        there.start()
        _pump(engine, client, through.answer)
        # The engine has nothing more to say.
        _end(client)
        there.join()
        with self._lock:
            self._sockets -= {client, engine}
        client.close()
        engine.close()


class Unchanged:
    """Lets everything through."""

    def request(self, data: bytes) -> bytes:
        return data

    def answer(self, data: bytes) -> bytes:
        return data


def _connect(target: str) -> socket.socket:
    scheme, _, where = target.partition("://")
    if scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(where)
        return connection
    host, _, port = where.partition(":")
    return socket.create_connection((host, int(port)))


def _pump(source: socket.socket, target: socket.socket, through: Callable[[bytes], bytes]) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(through(data))
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # One of the two is gone.


def _end(each: socket.socket) -> None:
    try:
        each.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # It had ended.
