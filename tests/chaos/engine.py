"""Simulated engines: the part of Docker's API that a producer asks, with containers that live and die as told.

What is real about them is what matters here: a change is made before its event is told, the memory of events holds
256, and an engine that restarts has forgotten them. Their own `inspect` is the truth.
"""

import asyncio
import json
import random
import re
import secrets
import time
from collections import OrderedDict, deque
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from harness import truth

RING_MAX = 256
VERSION = {"Version": "28.5.2", "ApiVersion": "1.51", "MinAPIVersion": "1.24", "Os": "linux", "Arch": "amd64"}
NEVER = "0001-01-01T00:00:00Z"
ID = re.compile(r"/containers/([0-9a-f]{64})/json")


class Container:
    def __init__(self, name: str, labels: dict[str, str]):
        self.id, self.name, self.labels = secrets.token_hex(32), name, labels
        self.status, self.code, self.pid, self.restarts = "created", 0, 0, 0
        self.created = time.time_ns()
        self.started: int | None = None
        self.finished: int | None = None

    @property
    def running(self) -> bool:
        return self.status in ("running", "paused")

    def inspect(self) -> dict:
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "Created": _moment(self.created),
            "Image": f"sha256:{self.id[:2] * 32}",
            "RestartCount": self.restarts,
            "State": {
                "Status": self.status,
                "Running": self.running,
                "Paused": self.status == "paused",
                "Restarting": False,
                "OOMKilled": False,
                "Dead": False,
                "Pid": self.pid,
                "ExitCode": self.code,
                "Error": "",
                "StartedAt": _moment(self.started),
                "FinishedAt": _moment(self.finished),
            },
            "HostConfig": {"AutoRemove": False, "NetworkMode": "none"},
            "Config": {"Image": "shop:1.2.3", "Labels": self.labels},
            "NetworkSettings": {"Ports": {}},
        }

    def row(self) -> dict:
        return {
            "Id": self.id,
            "Names": [f"/{self.name}"],
            "Image": "shop:1.2.3",
            "State": self.status,
            "Status": self._text(),
            "Created": self.created // 10**9,
        }

    def _text(self) -> str:
        now = time.time_ns()
        if self.running:
            return f"Up {_age(now - self.started)}" + (" (Paused)" if self.status == "paused" else "")
        if self.status == "exited":
            return f"Exited ({self.code}) {_age(now - self.finished)} ago"
        return "Created"


class Engine:
    """Lives in an event loop, and is changed there alone."""

    def __init__(self, path: Path, name: str):
        self.address, self.name = f"unix://{path}", name
        self.containers: OrderedDict[str, Container] = OrderedDict()
        # Events so far, and those that were kept from whoever listens.
        self.told, self.swallowed = 0, 0
        self.swallow = False
        # What was told since somebody last took it: id, action and time of each event.
        self._history: list[tuple[str, str, int]] = []
        self._path, self._identity = path, f"simulated-{name}-{secrets.token_hex(4)}"
        self._ring: deque[dict] = deque(maxlen=RING_MAX)
        self._listeners: set[asyncio.Queue] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._last = 0

    # --- its life ---

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self._path))

    @property
    def is_open(self) -> bool:
        return self._server is not None

    async def close(self) -> None:
        """It is gone, as a daemon that was killed: whoever is connected sees the end of it."""
        if self._server:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)
        for writer in list(self._writers):
            writer.transport.abort()

    def forget(self, live_restore: bool) -> None:
        """What a daemon that starts again no longer has: its events, and, without live-restore, what ran."""
        self._ring.clear()
        for container in self.containers.values():
            if container.running and not live_restore:
                container.status, container.pid, container.code = "exited", 0, 255
                container.finished = self._now()

    def truth(self, node: str) -> dict[str, dict]:
        return {each.id: truth.container_state(each.inspect(), node) for each in self.containers.values()}

    def take_history(self) -> list[tuple[str, str, int]]:
        taken, self._history = self._history, []
        return taken

    # --- what happens to containers ---

    def create(self, name: str, labels: dict[str, str]) -> Container:
        container = Container(name, labels)
        self.containers[container.id] = container
        self._tell(container, "create")
        return container

    def start(self, container: Container) -> None:
        container.status, container.pid, container.code = "running", random.randrange(1000, 4_000_000), 0
        container.started = self._now()
        self._tell(container, "start")

    def end(self, container: Container, code: int) -> None:
        container.status, container.pid, container.code = "exited", 0, code
        container.finished = self._now()
        self._tell(container, "die", exitCode=str(code), execDuration="1")

    def stop(self, container: Container) -> None:
        self._tell(container, "kill", signal="15")
        self.end(container, 0)
        self._tell(container, "stop")

    def kill(self, container: Container) -> None:
        self._tell(container, "kill", signal="9")
        self.end(container, 137)

    def pause(self, container: Container) -> None:
        container.status = "paused"
        self._tell(container, "pause")

    def unpause(self, container: Container) -> None:
        container.status = "running"
        self._tell(container, "unpause")

    def rename(self, container: Container, name: str) -> None:
        container.name = name
        self._tell(container, "rename")

    def remove(self, container: Container) -> None:
        if container.running:
            self.kill(container)
        del self.containers[container.id]
        self._tell(container, "destroy")

    def _now(self) -> int:
        """Its clock: no two moments are one."""
        self._last = max(self._last + 1, time.time_ns())
        return self._last

    def _tell(self, container: Container, action: str, **attributes: str) -> None:
        if self.swallow:
            self.swallowed += 1
            return
        self.told += 1
        nanos = self._now()
        event = {
            "Type": "container",
            "Action": action,
            "Actor": {
                "ID": container.id,
                "Attributes": {"name": container.name, "image": "shop:1.2.3"} | container.labels | attributes,
            },
            "scope": "local",
            "time": nanos // 10**9,
            "timeNano": nanos,
        }
        self._ring.append(event)
        self._history.append((container.id, action, nanos))
        for listener in self._listeners:
            listener.put_nowait(event)

    # --- its API ---

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head.split(b" ", 2)[1].decode(), writer)
        except (OSError, EOFError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # Whoever asked is gone.
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, target: str, writer: asyncio.StreamWriter) -> None:
        url = urlsplit(target)
        path, query = re.sub(r"^/v[0-9.]+", "", url.path), parse_qs(url.query)
        if path == "/events":
            await self._events(query, writer)
        elif path == "/_ping":
            _reply(writer, 200, b"OK", "text/plain")
        elif path == "/version":
            _reply(writer, 200, VERSION)
        elif path == "/info":
            _reply(writer, 200, self._info())
        elif path == "/containers/json":
            _reply(writer, 200, [each.row() for each in self.containers.values()])
        elif (found := ID.fullmatch(path)) and found[1] in self.containers:
            _reply(writer, 200, self.containers[found[1]].inspect())
        else:
            _reply(writer, 404, {"message": f"no such container or page: {path}"})
        await writer.drain()

    def _info(self) -> dict:
        return {
            "ID": self._identity,
            "Name": self.name,
            "DockerRootDir": "/var/lib/docker",
            "ServerVersion": VERSION["Version"],
            "OSType": "linux",
            "OperatingSystem": "simulated",
            "Architecture": "x86_64",
            "SystemTime": _moment(time.time_ns()),
        }

    async def _events(self, query: dict[str, list[str]], writer: asyncio.StreamWriter) -> None:
        filters = json.loads(query.get("filters", ["{}"])[0])
        wanted = [name for name in filters.get("event", [])]
        listener: asyncio.Queue[dict] = asyncio.Queue()
        past = list(self._ring)
        if "until" not in query:
            self._listeners.add(listener)
        try:
            head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(head.encode())
            for event in past:
                _chunk(writer, event, wanted)
            while "until" not in query:
                await writer.drain()
                _chunk(writer, await listener.get(), wanted)
                while not listener.empty():
                    _chunk(writer, listener.get_nowait(), wanted)
                if writer.transport.is_closing():
                    return
            writer.write(b"0\r\n\r\n")
        finally:
            self._listeners.discard(listener)


def _chunk(writer: asyncio.StreamWriter, event: dict, wanted: list[str]) -> None:
    if wanted and event["Action"] not in wanted:
        return
    line = json.dumps(event).encode() + b"\n"
    writer.write(b"%x\r\n%s\r\n" % (len(line), line))


def _reply(writer: asyncio.StreamWriter, status: int, body, kind: str = "application/json") -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} {'OK' if status == 200 else 'Not Found'}\r\nContent-Type: {kind}\r\n"
    writer.write(f"{head}Api-Version: {VERSION['ApiVersion']}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)


def _moment(nanos: int | None) -> str:
    if nanos is None:
        return NEVER
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(nanos // 10**9)) + f".{nanos % 10**9:09d}Z"


def _age(nanos: int) -> str:
    """As the engine writes it (docker/go-units `HumanDuration`)."""
    seconds = nanos // 10**9
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    minutes, hours = seconds // 60, round(seconds / 3600)
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    return "About an hour" if hours == 1 else f"{hours} hours"
