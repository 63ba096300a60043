"""One installation under load: real servers and roles as processes, simulated engines, ways between any two parts."""

import itertools
import random
from dataclasses import dataclass
from pathlib import Path

from harness import stream
from harness.members import Members
from harness.order import assert_ordered
from harness.ports import free_port
from harness.process import Process
from harness.program import Result, deckwatch
from harness.stack import Role
from harness.store import Store
from harness.wait import eventually

import clock
from disk import Disk, can_mount
from engine import Engine
from ledger import Ledger
from load import Load
from machinery import Machinery
from picture import assert_right
from servers import Nats, Redis
from way import Way

STATE, RAW = "DECKWATCH_STATE_0", "DECKWATCH_RAW"
NODES = ["a", "b", "c"]
# Seconds between two looks of the reconciler at a node, and without a sign of life until a node is lost.
INTERVAL, LOST_AFTER = 5, 8
# Lines of a log that may be the same, one after another.
SAID_MAX = 3
SETTINGS = {
    "DECKWATCH_HEARTBEAT": "1s",
    "DECKWATCH_LOST_AFTER": f"{LOST_AFTER}s",
    "DECKWATCH_INTERVAL": f"{INTERVAL}s",
    "DECKWATCH_LOG_LEVEL": "info",
}


@dataclass(frozen=True)
class Plan:
    """What the installation is to be."""

    seed: int
    # Events a second, of all engines together.
    rate: float
    # nats-servers: one, or three as a cluster.
    servers: int


@dataclass
class Link:
    """How one part reaches another: one way, or one to each server of a cluster."""

    name: str
    ways: list[Way]

    @property
    def address(self) -> str:
        return ",".join(way.address for way in self.ways)


class World:
    """Use as a context: all of it runs and is right on entry; on exit every process has ended."""

    def __init__(self, folder: Path, plan: Plan):
        folder.mkdir(parents=True)
        self.folder, self.plan = folder, plan
        self.dice = random.Random(plan.seed)
        self.machinery = Machinery()
        self.links: dict[str, Link] = {}
        self.engines: dict[str, Engine] = {}
        self.loads: dict[str, Load] = {}
        self.nats = Members(folder) if plan.servers > 1 else Nats(folder)
        self.redis = Redis(folder)
        self.ledger = Ledger()
        # A copy of the record is not what was written: what it lacks no reader of it can know.
        self.damaged = False
        # Disks that can be filled, where this machine lets us have them.
        self.disks: dict[str, Disk] = {}
        self._library = clock.build(folder)
        self.clocks: dict[str, clock.Clock] = {}
        self.roles: dict[str, Role] = {}
        # How far each role's log was read.
        self._read: dict[str, int] = {}
        # Events of each node that the record has not been seen to tell yet.
        self._untold: dict[str, set[tuple[str, str, int]]] = {node: set() for node in NODES}

    def __enter__(self) -> "World":
        self.machinery.__enter__()
        try:
            if can_mount():
                self.disks = {name: Disk(self.folder / name) for name in ("nats", "redis", "producer-a")}
            self._make()
            self.nats.start()
            self.redis.start()
            for role in self.roles.values():
                role.start()
            for name in ("sequencer-0", *(f"producer-{node}" for node in NODES)):
                self.roles[name].wait_ready(60)
            self.wait_right(60)
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_) -> None:
        complaints = self.end()
        assert not complaints, complaints

    def end(self) -> list[str]:
        """Drains the roles, producers first; answers what did not end as it should."""
        complaints = []
        for role in reversed(self.roles.values()):
            try:
                role.stop()
            except AssertionError as error:
                complaints.append(str(error))
        for server in self.servers:
            server.stop()
        self.machinery.__exit__()
        for disk in self.disks.values():
            disk.close()
        return complaints

    @property
    def servers(self) -> list[Process]:
        nats = self.nats.members if isinstance(self.nats, Members) else [self.nats]
        return [self.redis.process, *(each.process for each in nats)]

    # --- its parts ---

    def _make(self) -> None:
        for node in NODES:
            self.engines[node] = engine = Engine(self.folder / f"engine-{node}.sock", node)
            load = Load(engine, self.plan.rate / len(NODES), f"{self.plan.seed}/{node}")
            self.loads[node] = load
            self.machinery.do(engine.open())
            self.machinery.begin(load.run())
        for number in (0, 1):
            name = f"sequencer-{number}"
            self._add("sequencer", name, "--nats", self.link(name, "nats"), *self._replicas())
        for number in (0, 1):
            name = f"projector-{number}"
            self._add("projector", name, "--nats", self.link(name, "nats"), "--redis", self.link(name, "redis"))
        name = "reconciler"
        self._add(name, name, "--nats", self.link(name, "nats"), "--redis", self.link(name, "redis"))
        for node in NODES:
            self.add_producer(f"producer-{node}", node)

    def add_producer(self, name: str, node: str, engine: Engine | None = None) -> Role:
        nats, asked = self.link(name, "nats"), self.link(name, "engine", engine or self.engines[node])
        flags = ["--nats", nats, "--engine", asked, "--node", node, "--data-dir", str(self.folder / name)]
        return self._add("producer", name, *flags)

    def drop(self, role: Role) -> None:
        """It was added for a while."""
        role.stop()
        name = role.process.name
        del self.roles[name]
        for link in [each for each in self.links if each.startswith(f"{name}:")]:
            for way in self.links.pop(link).ways:
                self.machinery.do(way.close())

    def _add(self, kind: str, name: str, *flags: str) -> Role:
        self.clocks[name] = clock.Clock(self.folder, name, self._library)
        role = Role(kind, self.folder, *flags, name=name, settings=SETTINGS | self.clocks[name].environment)
        self.roles[name] = role
        return role

    def _replicas(self) -> list[str]:
        return ["--replicas", str(self.plan.servers)]

    def link(self, part: str, to: str, engine: Engine | None = None) -> str:
        """Makes a way from a part to another; answers the address at which it begins."""
        name = f"{part}:{to}"
        if engine:
            ways = [Way(name, engine.address, f"unix://{self.folder}/{part}.sock")]
        else:
            urls = [self.redis.url] if to == "redis" else getattr(self.nats, "urls", [self.nats.url])
            ways = [Way(name, url, f"{url.split(':')[0]}://127.0.0.1:{free_port()}") for url in urls]
        self.links[name] = link = Link(name, ways)
        for way in ways:
            self.machinery.do(way.open())
        return link.address

    # --- what happens to them ---

    def load_goes(self) -> None:
        for load in self.loads.values():
            self.machinery.call(load.go)

    def load_rests(self) -> None:
        for load in self.loads.values():
            self.machinery.call(load.rest)

    def told(self) -> int:
        return self.machinery.call(lambda: sum(engine.told for engine in self.engines.values()))

    # --- what it says ---

    def ask(self, *argv: str, within: float = 60) -> Result:
        return deckwatch(*argv, env=self.addresses, within=within)

    @property
    def addresses(self) -> dict[str, str]:
        """For whoever asks, as the environment of a command."""
        urls = {"DECKWATCH_NATS": self.nats.url, "DECKWATCH_REDIS": self.redis.url}
        return urls | {"DECKWATCH_DATA_DIR": str(self.folder)}

    def store(self, node: str) -> Store:
        return Store(self.redis.client(), node)

    def truths(self) -> dict[str, dict[str, dict]]:
        return self.machinery.call(lambda: {node: engine.truth(node) for node, engine in self.engines.items()})

    def read_on(self) -> None:
        """Takes what the record has told since. What was told before must still stand there."""
        if self.damaged:
            # From whichever copy answers: each may have other holes.
            self.ledger = Ledger(damaged=True)
        first = self.ledger.last
        entries = stream.read(self.nats.url, STATE, first=max(first, 1))
        if first:
            there = bool(entries) and entries[0].sequence == first
            if not there or self.ledger.differs_from(entries[0]):
                self.ledger.violations.append(f"record {first} was told, and is {'another one' if there else 'gone'}")
                return
            entries = entries[1:]
        self.ledger.take(entries)

    def read_anew(self) -> None:
        """The record is another one from here on."""
        self.ledger = Ledger()

    def right(self) -> bool:
        self.read_on()
        client = self.redis.client()
        try:
            assert_right(client, self.truths(), None if self.ledger.holes else self.ledger)
        finally:
            client.close()
        return True

    def wait_right(self, within: float, since: float | None = None) -> None:
        eventually(self.right, within, "Redis equals engines and record", since, every=0.2)

    def untold(self) -> dict[str, int]:
        """How many events of each node were told by its engine, and not yet by the record."""
        for node, engine in self.engines.items():
            self._untold[node] |= set(self.machinery.call(engine.take_history))
            self._untold[node] -= self.ledger.events
        return {node: len(events) for node, events in self._untold.items() if events}

    def excuse_untold(self) -> None:
        for events in self._untold.values():
            events.clear()

    def read_all(self) -> list[str]:
        """The whole record once more, by both checkers, and against what was told while it happened."""
        entries = stream.read(self.nats.url, STATE)
        whole = Ledger()
        whole.take(entries)
        found = whole.violations
        changed = [entry.sequence for entry in entries if self.ledger.differs_from(entry)]
        found += [f"record {sequence} was told as another one" for sequence in changed]
        if whole.last != self.ledger.last:
            found.append(f"the record ends at {whole.last}, and {self.ledger.last} was told")
        for node in NODES:
            try:
                assert_ordered(entries, node)
            except AssertionError as error:
                found.append(str(error))
        return found

    def repeated(self) -> list[str]:
        """What a role has said again and again since this was last asked, with nothing else between."""
        found = []
        for name, role in self.roles.items():
            with role.process.stderr.open("rb") as log:
                log.seek(self._read.get(name, 0))
                lines = log.read().decode(errors="replace").splitlines()
                self._read[name] = log.tell()
            for text, same in itertools.groupby(lines, lambda line: line.partition(" ")[2]):
                if (count := len(list(same))) > SAID_MAX:
                    found.append(f"{name} says {count} times in a row: {text}")
        return found

    def tail(self) -> str:
        processes = [role.process for role in self.roles.values()] + self.servers
        return "\n".join(process.tail() for process in processes)
