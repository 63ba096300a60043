"""Three nats-servers that are one, each restartable on its own port and data."""

import asyncio
import json
import urllib.request
from pathlib import Path

from harness.connection import connection
from harness.paths import tool
from harness.ports import free_port, listening
from harness.process import Process, Processes
from harness.wait import eventually

SIZE = 3
UP_MAX = 60


class Member:
    """One of them."""

    def __init__(self, folder: Path, number: int, routes: list[str], route: int):
        self.port, self._monitor = free_port(), free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.store = folder / f"nats-{number}"
        config = folder / f"nats-{number}.conf"
        # Clients are told of no other server: each goes by the way that it was given.
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\nserver_name: n{number}\nhttp: "127.0.0.1:{self._monitor}"\n'
            f'jetstream {{ store_dir: "{self.store}", sync_interval: always }}\n'
            f'cluster {{ name: three, listen: "127.0.0.1:{route}", no_advertise: true\n'
            f"routes: {json.dumps(routes)} }}\n"
        )
        self.process = Process(f"nats-server-{number}", [tool("nats-server"), "-c", config], folder)

    def start(self) -> None:
        self.process.start()
        eventually(lambda: listening(self.port), UP_MAX, f"{self.process.name} listens")

    def kill(self) -> None:
        self.process.kill()

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._monitor}/healthz", timeout=2) as answer:
                return answer.status == 200
        except OSError as error:
            raise AssertionError(f"{self.process.name}: {error}") from None


class Members:
    """As one server: `url` is the first one's."""

    def __init__(self, folder: Path):
        ports = [free_port() for _ in range(SIZE)]
        routes = [f"nats://127.0.0.1:{port}" for port in ports]
        self.members = [Member(folder, number, routes, port) for number, port in enumerate(ports)]
        self.url = self.members[0].url
        self.process = Processes([member.process for member in self.members])

    @property
    def urls(self) -> list[str]:
        return [member.url for member in self.members]

    def start(self) -> None:
        for member in self.members:
            if not member.process.running:
                member.process.start()
        eventually(lambda: all(member.healthy() for member in self.members), UP_MAX, "the cluster is healthy")
        eventually(lambda: asyncio.run(_has_jetstream(self.url)), UP_MAX, "the cluster has JetStream")

    def kill(self) -> None:
        for member in self.members:
            member.kill()

    def stop(self) -> None:
        for member in self.members:
            member.process.stop()

    def ask(self, what: str, request: dict | None = None) -> dict:
        """What the first one answers to a question to JetStream."""

        async def ask() -> dict:
            async with connection(self.url) as client:
                answer = await client.request(f"$JS.API.{what}", json.dumps(request or {}).encode(), timeout=5)
                return json.loads(answer.data)

        return asyncio.run(ask())

    def leader(self, stream: str) -> int:
        """The number of the one that leads a stream."""

        def known() -> int | None:
            name = self.ask(f"STREAM.INFO.{stream}").get("cluster", {}).get("leader")
            return int(name.removeprefix("n")) if name else None

        return eventually(known, 30, f"{stream} has a leader")


async def _has_jetstream(url: str) -> bool:
    try:
        async with connection(url, timeout=2) as client:
            await client.jetstream().account_info()
            return True
    except Exception as error:  # nats-py raises many kinds while the servers come up
        raise AssertionError(repr(error)) from None
