"""The installation of `deploy/compose.cluster.yaml`, and beside it one host's producer, of `deploy/compose.node.yaml`."""

import asyncio
import shutil
import subprocess
import tempfile
import time
from ipaddress import ip_network
from pathlib import Path

import redis
from docker.models.containers import Container

from harness import stream
from harness.accounts import Certificates, Nkey, secured
from harness.compose import PROJECT, SERVICE
from harness.engine import Engine
from harness.images import Images, program
from harness.order import Story, assert_ordered
from harness.paths import BINARY, ROOT, environment, tool
from harness.picture import Picture
from harness.ports import free_port
from harness.store import Store
from harness.stream import Entry
from harness.wait import eventually

PARTITIONS = 8
NATS = ["nats-1", "nats-2", "nats-3"]
REDIS = ["redis-1", "redis-2"]
SENTINELS = ["sentinel-1", "sentinel-2", "sentinel-3"]
# Two of each.
ROLES = ["sequencer", "projector", "reconciler"]


class Project:
    """A compose file with its settings."""

    def __init__(self, engine: Engine, name: str, file: str, settings: dict[str, str]):
        self.engine, self.name = engine, name
        self._file = ROOT / "deploy" / file
        self._settings = settings

    def say(self, *argv: str, within: float = 60) -> str:
        """`docker compose …`; its output."""
        command = [tool("docker-compose"), "--file", str(self._file), "--project-name", self.name, *argv]
        env = environment(DOCKER_HOST=self.engine.address, **self._settings)
        started = time.monotonic()
        said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, timeout=within)
        print(f"compose {' '.join(argv)}: {time.monotonic() - started:.2f} s")
        assert said.returncode == 0, f"compose {' '.join(argv)}: {said.returncode}\n{said.stdout}{said.stderr}"
        return said.stdout

    def up(self, *more: str) -> None:
        """It says itself that all is well, or fails."""
        self.say("up", "--detach", "--wait", "--wait-timeout", "150", *more, within=180)

    def containers(self, service: str) -> list[Container]:
        """All of a service, also those that do not run, in their order."""
        labels = [f"{PROJECT}={self.name}", f"{SERVICE}={service}"]
        found = self.engine.client.containers.list(all=True, filters={"label": labels})
        return sorted(found, key=lambda container: container.name)

    def address(self, service: str) -> str:
        """Of a service's container, on its own network."""
        (container,) = self.containers(service)
        (network,) = container.attrs["NetworkSettings"]["Networks"].values()
        assert network["IPAddress"], f"{service} does not run"
        return network["IPAddress"]


class Cluster(Picture):
    def __init__(self, engine: Engine, node: str = "n1"):
        assert engine.address.startswith("unix://"), f"{engine.address}: the socket's folder is mounted, so it must be here"
        self.folder = Path(tempfile.mkdtemp(prefix="deckwatch-cluster-"))
        self._images = Images(engine.client, engine.run_id)
        self.built = f"deckwatch-test-{engine.run_id}-cluster"
        # Where a container of another network reaches this host.
        config = engine.client.networks.get("bridge").attrs["IPAM"]["Config"][0]
        gateway = config.get("Gateway") or str(next(ip_network(config["Subnet"]).hosts()))
        ports = [free_port() for _ in NATS]
        self._urls = [f"tls://{gateway}:{port}" for port in ports]
        self._certificates = Certificates(self.folder / "tls", [*NATS, gateway])
        shared = {
            # Of the caller's docker nothing leaks in: neither credentials nor plugins.
            "DOCKER_CONFIG": str(self.folder),
            "DECKWATCH_IMAGE": self.built,
            "DECKWATCH_BUILDER": f"{self.built}-binary",
        }
        self.servers = Project(engine, self.built, "compose.cluster.yaml", shared | {
            "DECKWATCH_ACCOUNTS": str(self.folder / "accounts"),
            "DECKWATCH_TLS": str(self.folder / "tls"),
            "DECKWATCH_LISTEN": gateway,
            "DECKWATCH_NODES": node,
            "DECKWATCH_STATE_MAX_BYTES": str(64 << 20),
        } | {f"DECKWATCH_NATS_{number}_PORT": str(port) for number, port in enumerate(ports, 1)})
        socket = Path(engine.address.removeprefix("unix://"))
        self.host = Project(engine, f"{self.built}-node", "compose.node.yaml", shared | {
            "DECKWATCH_NATS": ",".join(self._urls),
            "DECKWATCH_NODE": node,
            "DECKWATCH_CA": str(self._certificates.ca),
            "DECKWATCH_NKEY": str(self.folder / "accounts" / f"node-{node}" / "nkey"),
            "DECKWATCH_ENGINE_FOLDER": str(socket.parent),
            "DECKWATCH_ENGINE_SOCKET": socket.name,
            "DECKWATCH_PRODUCER_PORT": str(free_port()),
        })
        self._password = ""
        super().__init__(engine, node, self._urls[0], Store(redis.Redis(), node, PARTITIONS))

    def start(self) -> "Cluster":
        self._images.provide("debian:trixie-slim", BINARY)
        self._images.provide("nats:2.15-alpine", program("nats-server"))
        self._images.provide("redis:8.10-alpine", program("redis-server"), program("redis-cli"))
        self._images.provide("haproxy:3.2-alpine", program("haproxy"))
        self._images.wrap(f"{self.built}-binary", "deckwatch", BINARY)
        self._images.remove_at_end(self.built)
        self.servers.up("--build")
        self._password = self.servers.say("exec", "--no-TTY", "redis-1", "cat", "/run/redis/password").strip()
        self.host.up()
        return self

    def stop(self) -> None:
        try:
            for project in (self.host, self.servers):
                project.say("down", "--volumes", "--timeout", "1")
        finally:
            self._images.close()
            self.store.client.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- what one sees ---

    def equal(self) -> bool:
        self.store.client.close()
        self.store.client = self._redis(self.master())
        return super().equal()

    def master(self) -> str:
        """The Redis that the first sentinel names which answers."""
        for sentinel in SENTINELS:
            try:
                client = self._redis(sentinel, 26379)
                host, _ = client.execute_command("SENTINEL", "get-master-addr-by-name", "main")
                return host
            except (redis.RedisError, AssertionError):
                continue
        raise AssertionError("no sentinel answers")

    def role(self, server: str) -> str:
        return self._redis(server).role()[0]

    def _redis(self, service: str, port: int = 6379) -> redis.Redis:
        address = self.servers.address(service)
        return redis.Redis(address, port, password=self._password, decode_responses=True, socket_timeout=3)

    def record(self) -> tuple[list[Entry], Story]:
        """The node's ordered record, whole, with the key of an operator."""

        async def read() -> list[Entry]:
            async with secured(self._urls, Nkey(self.folder / "accounts" / "operator" / "nkey"), self._certificates) as client:
                subject = f"deckwatch.state.*.{self.node}.>"
                found = [await stream.pull(client, f"DECKWATCH_STATE_{number}", subject=subject) for number in range(PARTITIONS)]
            # A node is in one partition.
            (messages,) = [messages for messages in found if messages]
            return stream.entries(messages)

        entries = asyncio.run(read())
        return entries, assert_ordered(entries, self.node)

    def ask(self, *argv: str) -> str:
        return self.servers.say("run", "--rm", "--no-TTY", "--no-deps", "ask", *argv)

    # --- what befalls it ---

    def kill(self, service: str) -> Container:
        """`kill -9` of the first container of a service, which stays so."""
        container = self.servers.containers(service)[0]
        container.kill("SIGKILL")
        return container

    def back(self, container: Container) -> None:
        container.start()

        def healthy() -> bool:
            container.reload()
            health = container.attrs["State"].get("Health", {})
            assert health.get("Status") == "healthy", f"{container.name}: {container.attrs['State']}"
            return True

        eventually(healthy, 90, f"{container.name} is healthy", every=0.5)

    def tail(self) -> str:
        said = [project.say("ps", "--all") + project.say("logs", "--no-color", "--tail", "25") for project in (self.servers, self.host)]
        return "".join(said)
