"""Roles are killed, or stand still and wake."""

import signal

from harness import http
from harness.wait import eventually

from faults.base import LIFE, LOST, Fault

SEQUENCERS, PROJECTORS = ("sequencer-0", "sequencer-1"), ("projector-0", "projector-1")
# With a heartbeat of one second: the vouching expires after three, and a machine may be loaded.
NOT_CURRENT_WITHIN = 20


class Killed(Fault):
    """`kill -9`, and started again."""

    def __init__(self, name: str, *roles: str, hold: float = 2):
        super().__init__(name)
        self._roles, self.parts, self.hold = roles, frozenset(roles), hold

    def begin(self, world):
        for name in self._roles:
            world.roles[name].kill()

    def end(self, world):
        for name in self._roles:
            world.roles[name].start()


class ProducerKilled(Killed):
    """What it had not written down of its own end is a gap; what the engine remembers is told by its next life."""

    gaps = LIFE


class WorkerKilled(Fault):
    """Whoever holds the lease is killed, and again, as often as there are instances."""

    hold = 0

    def __init__(self, kind: str, roles: tuple[str, str]):
        super().__init__(f"{kind}s-killed-in-turn")
        self._roles, self.parts = roles, frozenset(roles)

    def begin(self, world):
        for name in self._roles:
            world.roles[name].kill()
            moved = world.told()
            eventually(lambda moved=moved: world.told() > moved + 100, 30, "the load went on")
            world.roles[name].start()
            world.roles[name].wait_ready(60)


class Frozen(Fault):
    """SIGSTOP, for longer than a lease lasts, and SIGCONT."""

    def __init__(self, name: str, *roles: str, hold: float = 8):
        super().__init__(name)
        self._roles, self.parts, self.hold = roles, frozenset(roles), hold

    def begin(self, world):
        for name in self._roles:
            world.roles[name].process.signal(signal.SIGSTOP)

    def end(self, world):
        for name in self._roles:
            world.roles[name].process.signal(signal.SIGCONT)


class HolderFrozen(Frozen):
    """The sequencer that writes: its late writes are refused, and nobody is declared lost by it."""

    def __init__(self):
        super().__init__("writing-sequencer-frozen", *SEQUENCERS)
        self.parts = frozenset(SEQUENCERS)

    def begin(self, world):
        self._roles = (writing(world),)
        super().begin(world)


class HolderCutOff(Fault):
    """What the writing sequencer has just sent is on its way for so long that another one writes meanwhile; then it
    arrives, and is refused."""

    hold = 9
    parts = frozenset(SEQUENCERS)

    def begin(self, world):
        self._ways = world.links[f"{writing(world)}:nats"].ways
        for way in self._ways:
            world.machinery.do(way.black_hole())

    def end(self, world):
        for way in self._ways:
            world.machinery.do(way.heal())


class AllFrozen(Frozen):
    """Every instance of a role: nothing is current, and that is said."""

    def during(self, world):
        eventually(lambda: is_not_current(world), NOT_CURRENT_WITHIN, "ps says that nothing is current")


class ProducerFrozen(Frozen):
    words = LOST


def is_not_current(world) -> bool:
    listed = world.ask("ps", "-o", "json")
    assert listed.code == 0, listed
    return listed.json["revision"] is None and listed.err != ""


def writing(world) -> str:
    """The sequencer that writes."""
    written = {name: _written(world, name) for name in SEQUENCERS}

    def grown() -> str | None:
        return next((name for name in SEQUENCERS if _written(world, name) > written[name]), None)

    return eventually(grown, 20, "one of the sequencers writes")


def _written(world, name: str) -> float:
    samples = http.samples(world.roles[name].port)
    return sum(count for sample, count in samples.items() if sample.startswith("deckwatch_records_total"))


def faults() -> list[Fault]:
    return [
        Killed("sequencer-killed", "sequencer-0"),
        Killed("all-sequencers-killed", *SEQUENCERS),
        WorkerKilled("sequencer", SEQUENCERS),
        Killed("projector-killed", "projector-0"),
        Killed("all-projectors-killed", *PROJECTORS),
        WorkerKilled("projector", PROJECTORS),
        Killed("reconciler-killed", "reconciler"),
        ProducerKilled("producer-killed", "producer-a", hold=1),
        HolderFrozen(),
        HolderCutOff("writing-sequencer-cut-off-with-writes-under-way"),
        AllFrozen("all-sequencers-frozen", *SEQUENCERS),
        AllFrozen("all-projectors-frozen", *PROJECTORS),
        Frozen("reconciler-frozen", "reconciler"),
        ProducerFrozen("producer-frozen", "producer-b"),
    ]
