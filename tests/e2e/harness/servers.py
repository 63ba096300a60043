"""nats-server and redis-server with their data on disk, restartable on the same port and data."""

import asyncio
import shutil
from pathlib import Path

import redis

from harness.connection import connection
from harness.paths import tool
from harness.ports import free_port, listening
from harness.process import Process
from harness.wait import eventually


class NatsServer:
    def __init__(self, folder: Path):
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._store = folder / "nats"
        config = folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{self._store}", sync_interval: always }}\n'
        )
        self.process = Process("nats-server", [tool("nats-server"), "-c", config], folder)

    def start(self) -> None:
        self.process.start()
        eventually(lambda: listening(self.port) and asyncio.run(self._has_jetstream()), 20, "nats-server is up")

    def kill(self) -> None:
        self.process.kill()

    def wipe(self) -> None:
        """Its data is gone. It must not run."""
        assert not self.process.running
        shutil.rmtree(self._store)

    def save(self, folder: Path) -> None:
        """Copies its data as they are. It must not run."""
        assert not self.process.running
        shutil.copytree(self._store, folder)

    def restore(self, folder: Path) -> None:
        """Its data are those that were saved. It must not run."""
        self.wipe()
        shutil.copytree(folder, self._store)

    async def _has_jetstream(self) -> bool:
        try:
            async with connection(self.url, timeout=1) as client:
                await client.jetstream().account_info()
                return True
        except Exception as error:  # nats-py raises many kinds while the server comes up
            raise AssertionError(repr(error)) from None


class RedisServer:
    def __init__(self, folder: Path, name: str = "redis", *flags: str):
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._data = folder / name
        self._data.mkdir()
        argv = [tool("redis-server"), "--bind", "127.0.0.1", "--port", str(self.port), "--dir", self._data]
        argv += ["--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction", *flags]
        self.process = Process(f"{name}-server", argv, folder)

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, decode_responses=True, socket_timeout=5)

    def start(self) -> None:
        self.process.start()

        def answers() -> bool:
            try:
                return self.client().ping()
            except redis.RedisError as error:
                raise AssertionError(repr(error)) from None

        eventually(answers, 20, "redis-server is up")

    def kill(self) -> None:
        self.process.kill()

    def save(self, folder: Path) -> None:
        """Copies its data as they are. It must not run."""
        assert not self.process.running
        shutil.copytree(self._data, folder)

    def restore(self, folder: Path) -> None:
        """Its data are those that were saved. It must not run."""
        assert not self.process.running
        shutil.rmtree(self._data)
        shutil.copytree(folder, self._data)
