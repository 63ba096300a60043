"""One installation: its own nats-server and redis-server, and each role as a process of its own."""

from pathlib import Path

from harness import http, stream
from harness.engine import Engine
from harness.order import Story, assert_ordered
from harness.paths import BINARY, environment
from harness.ports import free_port
from harness.process import Process
from harness.program import Result, deckwatch
from harness.servers import NatsServer, RedisServer
from harness.store import Store, assert_equals_engine, assert_equals_record
from harness.stream import Entry
from harness.wait import eventually

# Installations that live now, for the report of a failed test.
alive: list["Stack"] = []


class Role:
    """`deckwatch <role>`, restartable on the same ports and data."""

    def __init__(self, role: str, folder: Path, *flags: str, name: str | None = None):
        self.port = free_port()
        argv = [str(BINARY), role, "--admin", f"127.0.0.1:{self.port}", *flags]
        self.process = Process(name or role, argv, folder, environment())
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


class Stack:
    def __init__(self, folder: Path, engine: Engine, node: str = "n1", watched: str | None = None):
        """`watched` is the address at which the producer asks the engine, where that is not the engine's own."""
        self.folder, self.engine, self.node = folder, engine, node
        self.nats, self.redis = NatsServer(folder), RedisServer(folder)
        self.sequencer = self.make_sequencer("sequencer")
        self.projector = self.make_projector("projector")
        self.producer = self.make_producer("producer", watched=watched)
        self.roles = [self.sequencer, self.projector, self.producer]
        self.store = Store(self.redis.client(), node)

    def make_sequencer(self, name: str, *flags: str) -> Role:
        return Role("sequencer", self.folder, "--nats", self.nats.url, *flags, name=name)

    def make_projector(self, name: str, *flags: str) -> Role:
        addresses = ["--nats", self.nats.url, "--redis", self.redis.url]
        return Role("projector", self.folder, *addresses, *flags, name=name)

    def make_producer(self, name: str, node: str | None = None, watched: str | None = None) -> Role:
        flags = ["--nats", self.nats.url, "--engine", watched or self.engine.address, "--node", node or self.node]
        return Role("producer", self.folder, *flags, "--data-dir", str(self.folder / name), name=name)

    def start(self) -> "Stack":
        self.launch()
        self.wait_equal(30)
        return self

    def launch(self) -> None:
        """All of it runs and is ready; what Redis says is the caller's to await."""
        alive.append(self)
        for server in (self.nats, self.redis):
            server.start()
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

    # --- what the picture is ---

    def equal(self) -> bool:
        assert_equals_engine(self.store, self.engine.states(self.node))
        return True

    def wait_equal(self, within: float = 20, since: float | None = None) -> None:
        eventually(self.equal, within, "Redis equals the engine", since, every=0.2)

    def entries(self, first: int = 1, subject: str = "") -> list[Entry]:
        return stream.read(self.nats.url, first=first, subject=subject)

    def of_container(self, container) -> list[Entry]:
        return self.entries(subject=f"deckwatch.state.0.{self.node}.{container.id}")

    def wait_settled(self, within: float = 20) -> tuple[list[Entry], Story]:
        """Redis, the engine and the subjects agree, and the order holds: returns the records and their story."""
        self.wait_equal(within)

        def agreed() -> list[Entry]:
            entries = self.entries()
            assert_equals_record(self.store, entries)
            return entries

        entries = eventually(agreed, within, "Redis equals the subjects", every=0.2)
        return entries, assert_ordered(entries, self.node)

    # --- what a user asks ---

    def ask(self, *argv: str, within: float = 30) -> Result:
        """A command with this installation's addresses."""
        addresses = {"DECKWATCH_NATS": self.nats.url, "DECKWATCH_REDIS": self.redis.url}
        return deckwatch(*argv, env=addresses | {"DECKWATCH_DATA_DIR": str(self.folder)}, within=within)

    def ask_process(self, name: str, *argv: str) -> Process:
        """The same, for a command that goes on."""
        env = environment(
            DECKWATCH_NATS=self.nats.url, DECKWATCH_REDIS=self.redis.url, DECKWATCH_DATA_DIR=str(self.folder)
        )
        return Process(name, [str(BINARY), *argv], self.folder, env).start()

    def tail(self) -> str:
        processes = [role.process for role in self.roles] + [self.nats.process, self.redis.process]
        return "\n".join(process.tail() for process in processes)
