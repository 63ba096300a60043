"""The installation of `deploy/compose.yaml`, brought up as it is; what it would pull is made of this machine's programs."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import redis
from docker.models.containers import Container
from docker.models.networks import Network

from harness import http
from harness.engine import Engine
from harness.images import Images, program
from harness.paths import BINARY, ROOT, environment, tool
from harness.picture import Picture
from harness.ports import free_port
from harness.store import Store
from harness.wait import eventually

FILE = ROOT / "deploy" / "compose.yaml"
ROLES = ["sequencer", "projector", "reconciler", "producer"]
SERVICES = ["nats", "redis", "engine", *ROLES]
# Ends when its work is done.
ENDING = "volumes"

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"


class Compose(Picture):
    def __init__(self, engine: Engine, node: str = "n1"):
        assert engine.address.startswith("unix://"), f"{engine.address}: the socket's folder is mounted, so it must be here"
        self.project = f"deckwatch-test-{engine.run_id}"
        self.ports = {service: free_port() for service in ("nats", "redis", *ROLES)}
        self._images = Images(engine.client, engine.run_id)
        # Of the caller's docker nothing leaks in: neither credentials nor plugins.
        self.folder = Path(tempfile.mkdtemp(prefix="deckwatch-docker-"))
        client = redis.Redis(port=self.ports["redis"], decode_responses=True, socket_timeout=5)
        super().__init__(engine, node, f"nats://127.0.0.1:{self.ports['nats']}", Store(client, node))

    def start(self) -> "Compose":
        self._images.provide("debian:trixie-slim", BINARY)
        self._images.provide("nats:2.15-alpine", program("nats-server"))
        self._images.provide("redis:8.10-alpine", program("redis-server"), program("redis-cli"))
        self._images.provide("haproxy:3.2-alpine", program("haproxy"))
        self._images.wrap(f"{self.project}-built", "deckwatch", BINARY)
        self._images.remove_at_end(self.project)
        self.up("--build")
        return self

    def stop(self) -> None:
        try:
            self.say("down", "--volumes", "--timeout", "1")
        finally:
            self._images.close()
            self.store.client.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- what one types ---

    def up(self, *more: str) -> None:
        """It says itself that all is well, or fails."""
        self.say("up", "--detach", "--wait", "--wait-timeout", "60", *more, within=120)

    def say(self, *argv: str, within: float = 60) -> str:
        """`docker compose …`; its output."""
        command = [tool("docker-compose"), "--file", str(FILE), "--project-name", self.project, *argv]
        started = time.monotonic()
        try:
            said = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=self._environment(), timeout=within
            )
        except subprocess.TimeoutExpired as expired:
            raise AssertionError(f"compose {' '.join(argv)}: not over after {within:g} s\n{expired.stderr}") from None
        print(f"compose {' '.join(argv)}: {time.monotonic() - started:.2f} s")
        assert said.returncode == 0, f"compose {' '.join(argv)}: {said.returncode}\n{said.stdout}{said.stderr}"
        return said.stdout

    def _environment(self) -> dict[str, str]:
        socket = Path(self.engine.address.removeprefix("unix://"))
        ports = {f"DECKWATCH_{service.upper()}_PORT": str(port) for service, port in self.ports.items()}
        return environment(
            DOCKER_HOST=self.engine.address,
            DOCKER_CONFIG=str(self.folder),
            DECKWATCH_ENGINE_FOLDER=str(socket.parent),
            DECKWATCH_ENGINE_SOCKET=socket.name,
            DECKWATCH_IMAGE=self.project,
            DECKWATCH_BUILDER=f"{self.project}-built",
            DECKWATCH_NODE=self.node,
            **ports,
        )

    # --- what is there ---

    def container(self, service: str) -> Container:
        labels = [f"{PROJECT}={self.project}", f"{SERVICE}={service}"]
        found = self.engine.client.containers.list(all=True, filters={"label": labels})
        assert len(found) == 1, f"{service} has {len(found)} containers"
        return found[0]

    def runs(self, service: str) -> bool:
        """One of its containers does, also while it is replaced by another."""
        labels = [f"{PROJECT}={self.project}", f"{SERVICE}={service}"]
        return bool(self.engine.client.containers.list(filters={"label": labels}, ignore_removed=True))

    def network(self, name: str) -> Network:
        return self.engine.client.networks.list(names=[f"{self.project}_{name}"])[0]

    def kill_process(self, service: str) -> None:
        """`kill -9` of its process on the host: the engine knows of no wish to stop it."""
        os.kill(self.container(service).attrs["State"]["Pid"], signal.SIGKILL)

    def healthy(self) -> bool:
        for service in SERVICES:
            state = self.container(service).attrs["State"]
            health = state.get("Health", {})
            said = [probe["Output"].strip() for probe in health.get("Log") or []][-1:]
            assert (state["Status"], health.get("Status")) == ("running", "healthy"), f"{service}: {state['Status']} {said}"
        return True

    def wait_healthy(self, within: float = 60) -> None:
        eventually(self.healthy, within, "all are healthy", every=0.5)

    def wait_ready(self, within: float = 30) -> None:
        """Every role says so at its published port: sooner than the engine's next look."""

        def ready() -> bool:
            for role in ROLES:
                status, reason = http.readiness(self.ports[role])
                assert status == 200, f"{role} is not ready: {reason}"
            return True

        eventually(ready, within, "all roles are ready")

    def ask_engine(self, asked: list[tuple[str, str]]) -> list[int]:
        """Status codes of requests, a method and a path each, that somebody beside the proxy makes of it."""
        ask = r"""printf '%s %s HTTP/1.0\r\n\r\n' "$1" "$2" | nc 127.0.0.1 2375 | head -n 1; shift 2"""
        flat = [word for request in asked for word in request]
        said = self.say("exec", "--no-TTY", "engine", "sh", "-c", f"while [ $# != 0 ]; do {ask}; done", "sh", *flat)
        return [int(line.split()[1]) for line in said.splitlines()]

    def tail(self) -> str:
        return self.say("ps", "--all") + self.say("logs", "--no-color", "--tail", "40")
