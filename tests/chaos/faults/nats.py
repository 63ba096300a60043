"""One nats-server: killed, frozen, without its data, or with what a disk has lost of it."""

import signal
from pathlib import Path

from harness import stream
from harness.wait import eventually

from faults.base import ANY, LOST, Fault

STATE, RAW = "DECKWATCH_STATE_0", "DECKWATCH_RAW"
# What a cut takes of the last file: as it is no multiple of a message, it ends in the middle of one.
CUT = 0.3


class NatsFault(Fault):
    parts = frozenset({"nats"})
    servers = (1, 1)


class Killed(NatsFault):
    """Producers keep what they observe: order and completeness hold."""

    def begin(self, world):
        world.nats.kill()

    def end(self, world):
        world.nats.start()


class Frozen(NatsFault):
    hold = 8

    def begin(self, world):
        world.nats.process.signal(signal.SIGSTOP)

    def end(self, world):
        world.nats.process.signal(signal.SIGCONT)


class Broken(NatsFault):
    """What was in the record is not there any more: that is said, and no old revision is taken for a new one."""

    gaps, words, breaks_record = ANY, LOST, True
    hold = 1
    revision: str

    def begin(self, world):
        # Quiet, so that what `ps` names is the end of the record.
        world.load_rests()
        world.wait_right(60)
        self.revision = eventually(lambda: world.ask("ps", "-o", "json").json["revision"], 30, "ps names a revision")
        world.nats.kill()
        self.damage(world)

    def damage(self, world) -> None:
        raise NotImplementedError

    def end(self, world):
        world.nats.start()
        world.load_goes()
        told = world.told()
        # It grows again, so that a place alone could be mistaken for the one that it was.
        eventually(lambda: world.told() > told + 100, 30, "the load went on")

    def after(self, world):
        watched = world.ask("watch", "--from", self.revision)
        assert watched.code == 3 and watched.out == "", f"the old revision {self.revision} is not refused: {watched}"
        assert world.ledger.gaps, "what is lost is not said"


class Wiped(Broken):
    def damage(self, world):
        world.nats.wipe()


class StateCut(Broken):
    """The end of the record's last file is gone: a revision in it is refused, and Redis is built anew."""

    def damage(self, world):
        cut(last_file(world.folder / "nats", STATE))

    def after(self, world):
        watched = world.ask("watch", "--from", self.revision)
        assert watched.code == 3 and watched.out == "", f"the old revision {self.revision} is not refused: {watched}"


class RawCut(Broken):
    """What the sequencer has read of it already is in the record: only what it has not is lost."""

    breaks_record = False

    def damage(self, world):
        cut(last_file(world.folder / "nats", RAW))

    def after(self, world):
        """Whether anything that mattered was in it depends on how far it was purged: the general checks say so."""


def last_file(folder: Path, name: str) -> Path:
    """The newest file of a stream's messages."""
    found = sorted(folder.glob(f"jetstream/*/streams/{name}/msgs/*.blk"), key=lambda path: int(path.stem))
    assert found, f"{folder} has no messages of {name}"
    return [path for path in found if path.stat().st_size][-1]


def cut(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(int(size * (1 - CUT)))


def faults() -> list[Fault]:
    return [
        Killed("nats-killed"),
        Frozen("nats-frozen"),
        Wiped("nats-wiped"),
        StateCut("record-cut"),
        RawCut("observations-cut"),
    ]
