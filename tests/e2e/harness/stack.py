"""One installation: its own nats-server and redis-server, and each role as a process of its own."""

from pathlib import Path

from harness import http
from harness.engine import Engine
from harness.members import Members
from harness.paths import BINARY, environment
from harness.picture import Picture
from harness.ports import free_port
from harness.process import Process
from harness.program import Result, deckwatch
from harness.servers import NatsServer, RedisServer
from harness.shards import RedisGroup
from harness.store import Store
from harness.wait import eventually

# Installations that live now, for the report of a failed test.
alive: list["Stack"] = []

# Settings of an installation whose times are a fifth of the usual ones, where a test waits for them.
BRISK = {"DECKWATCH_HEARTBEAT": "1s", "DECKWATCH_LOST_AFTER": "4s"}


class Role:
    """`deckwatch <role>`, restartable on the same ports and data."""

    def __init__(
        self, role: str, folder: Path, *flags: str, name: str | None = None, settings: dict[str, str] | None = None
    ):
        self.port = free_port()
        argv = [str(BINARY), role, "--admin", f"127.0.0.1:{self.port}", *flags]
        self.process = Process(name or role, argv, folder, environment(**(settings or {})))
        self._killed = True

    def start(self) -> None:
        self.process.start()
        self._killed = False

    def kill(self) -> None:
        self.process.kill()
        self._killed = True

    def stop(self) -> None:
        """SIGTERM: it must still be there, and end with 0."""
        if not self._killed:
            self._killed = True
            running = self.process.running
            code = self.process.stop()
            assert running, f"{self.process.name} had ended by itself with {code}"
            assert code == 0, f"{self.process.name} ended with {code} after SIGTERM"

    @property
    def ready(self) -> bool:
        if not self.process.running:
            raise AssertionError(f"{self.process.name} ended with {self.process.code}\n{self.process.tail()}")
        status, reason = http.readiness(self.port)
        assert status == 200, f"{self.process.name} is not ready: {reason}"
        return True

    def wait_ready(self, within: float = 30) -> None:
        eventually(lambda: self.ready, within, f"{self.process.name} is ready")


class Stack(Picture):
    def __init__(
        self,
        folder: Path,
        engine: Engine,
        node: str = "n1",
        watched: str | None = None,
        settings: dict[str, str] | None = None,
        redis: RedisServer | RedisGroup | None = None,
        nats: Members | None = None,
    ):
        """`watched` is the address at which the producer asks the engine, where that is not the engine's own.

        `settings` are variables of all roles' environment. `redis` and `nats` are those servers, where each is
        more than one; they run already.
        """
        self.folder = folder
        self.settings = settings or {}
        self.nats, self.redis = nats or NatsServer(folder), redis or RedisServer(folder)
        super().__init__(engine, node, self.nats.url, Store(self.redis.client(), node))
        self.sequencer = self.make_sequencer("sequencer")
        self.projector = self.make_projector("projector")
        self.producer = self.make_producer("producer", watched=watched)
        self.roles = [self.sequencer, self.projector, self.producer]

    def make_sequencer(self, name: str, *flags: str) -> Role:
        return Role("sequencer", self.folder, "--nats", self.nats.url, *flags, name=name, settings=self.settings)

    def make_projector(self, name: str, *flags: str, store: str | None = None) -> Role:
        addresses = ["--nats", self.nats.url, "--redis", store or self.redis.url]
        return Role("projector", self.folder, *addresses, *flags, name=name, settings=self.settings)

    def make_reconciler(self, name: str, *flags: str, store: str | None = None) -> Role:
        """`store` is the address at which it reaches Redis, where that is not the server's own."""
        addresses = ["--nats", self.nats.url, "--redis", store or self.redis.url]
        return Role("reconciler", self.folder, *addresses, *flags, name=name, settings=self.settings)

    def role(self, name: str) -> Role:
        return next(role for role in self.roles if role.process.name == name)

    def make_producer(
        self, name: str, node: str | None = None, watched: str | None = None, through: str | None = None
    ) -> Role:
        """`through` is the address at which it reaches NATS, where that is not the server's own."""
        flags = ["--nats", through or self.nats.url, "--engine", watched or self.engine.address]
        flags += ["--node", node or self.node]
        flags += ["--data-dir", str(self.folder / name)]
        return Role("producer", self.folder, *flags, name=name, settings=self.settings)

    def start(self) -> "Stack":
        self.launch()
        self.wait_equal(30)
        return self

    def launch(self) -> None:
        """All of it runs and is ready; what Redis says is the caller's to await."""
        alive.append(self)
        if isinstance(self.nats, NatsServer):
            self.nats.start()
        if isinstance(self.redis, RedisServer):
            self.redis.start()
        for role in self.roles:
            role.start()
        for role in self.roles:
            role.wait_ready()

    def stop(self) -> None:
        """Drains the roles, producer first; then the servers."""
        alive.remove(self)
        complaints = []
        for role in reversed(self.roles):
            try:
                role.stop()
            except AssertionError as error:
                complaints.append(str(error))
        for server in (self.nats, self.redis):
            server.process.stop()
        self.store.client.close()
        assert not complaints, complaints

    # --- what a user asks ---

    def ask(self, *argv: str, within: float = 30) -> Result:
        """A command with this installation's addresses."""
        addresses = {"DECKWATCH_NATS": self.nats.url, "DECKWATCH_REDIS": self.redis.url}
        return deckwatch(*argv, env=addresses | {"DECKWATCH_DATA_DIR": str(self.folder)}, within=within)

    def corrections(self) -> list[dict]:
        """Drifts that the record names, oldest first."""
        answer = self.ask("gaps", "-o", "json")
        assert answer.code == 0, answer
        return [item["correction"] for item in answer.json["items"] if item["type"] == "correction"]

    def ask_process(self, name: str, *argv: str) -> Process:
        """The same, for a command that goes on."""
        env = environment(
            DECKWATCH_NATS=self.nats.url, DECKWATCH_REDIS=self.redis.url, DECKWATCH_DATA_DIR=str(self.folder)
        )
        return Process(name, [str(BINARY), *argv], self.folder, env).start()

    def tail(self) -> str:
        processes = [role.process for role in self.roles] + [self.nats.process, self.redis.process]
        return "\n".join(process.tail() for process in processes)
