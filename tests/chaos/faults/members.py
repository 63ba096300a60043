"""One of three nats-servers: killed, frozen, or with a file that its disk has cut short or changed."""

import json
import signal

from harness.paths import BINARY, environment
from harness.process import Process
from harness.wait import eventually

from faults.base import ANY, LOST, Fault
from faults.nats import RAW, STATE, cut, last_file

# One bit of so many bytes is another one.
FLIP_EVERY = 2000


class MemberFault(Fault):
    parts = frozenset({"nats"})
    servers = (3, 3)


class Killed(MemberFault):
    def __init__(self, name: str, leader: bool):
        super().__init__(name)
        self._leader = leader

    def begin(self, world):
        number = world.nats.leader(STATE) if self._leader else world.dice.randrange(len(world.nats.members))
        self._member = world.nats.members[number]
        self._member.kill()

    def end(self, world):
        self._member.start()


class Frozen(MemberFault):
    """The leader of the record stands still for longer than an election takes, and wakes."""

    hold = 12

    def begin(self, world):
        self._member = world.nats.members[world.nats.leader(STATE)]
        self._member.process.signal(signal.SIGSTOP)

    def end(self, world):
        self._member.process.signal(signal.SIGCONT)


class AllKilled(MemberFault):
    def begin(self, world):
        world.nats.kill()

    def end(self, world):
        world.nats.start()


class Damaged(MemberFault):
    """A file of one of three is not what was written. Whatever the cluster makes of it, nobody is told wrong things:
    not even by that one, when it leads."""

    gaps, words, breaks_record, spoils = ANY, LOST, True, True
    hold = 1

    def __init__(self, name: str, stream: str, damage):
        super().__init__(name)
        self._stream, self._damage = stream, damage

    def begin(self, world):
        listed = eventually(lambda: world.ask("ps", "-o", "json").json["revision"], 30, "ps names a revision")
        self._revision, self._number = listed, world.nats.leader(self._stream)
        self._member = world.nats.members[self._number]
        self._member.kill()
        world.damaged = True
        self._damage(last_file(self._member.store, self._stream))

    def end(self, world):
        self._member.start()
        told = world.told()
        eventually(lambda: world.told() > told + 100, 30, "the load went on")

    def after(self, world):
        if self._stream == STATE:
            eventually(lambda: leads(world, STATE, self._number), 60, "the damaged one leads")
            assert_told_right(world, self._revision)


def flip(path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(FLIP_EVERY // 2, len(data), FLIP_EVERY):
        data[place] ^= 1 << place % 8
    path.write_bytes(data)


def assert_told_right(world, revision: str) -> None:
    """A watch from there is refused, or tells every record that follows."""
    watch = Process(
        "watch",
        [str(BINARY), "watch", "--from", revision, "-o", "json"],
        world.folder,
        environment(**world.addresses),
    ).start()
    # Up to the furthest, what a node's keys hold already is left out.
    furthest, end = max(places(revision)), world.ledger.last

    def told() -> bool:
        lines = watch.stdout.read_text().splitlines(keepends=True)
        found = [places(json.loads(line)["revision"])[0] for line in lines if line.endswith("\n")]
        found = [place for place in found if place > furthest]
        if watch.code == 3:
            return True
        assert found == list(range(furthest + 1, furthest + 1 + len(found))), "a watch goes on beyond a hole"
        return bool(found) and found[-1] >= end

    try:
        eventually(told, 30, "a watch is refused, or tells all")
    finally:
        if watch.running:
            watch.kill()
        print(f"the watch from {revision}: {watch.code}, {watch.stderr.read_text()}")


def places(revision: str) -> list[int]:
    """`0:12.<writer>+a=14+b=13`: of the partition first, then of nodes that are further on."""
    partition, *further = revision.split("+")
    return [int(partition.partition(":")[2].partition(".")[0]), *(int(each.partition("=")[2]) for each in further)]


def leads(world, stream: str, number: int) -> bool:
    """It does; or the one that does is asked to give way to it."""
    if world.nats.leader(stream) == number:
        return True
    world.nats.ask(f"STREAM.LEADER.STEPDOWN.{stream}", {"placement": {"preferred": f"n{number}"}})
    return world.nats.leader(stream) == number


def faults() -> list[Fault]:
    return [
        Killed("one-of-three-killed", leader=False),
        Killed("leader-of-three-killed", leader=True),
        Frozen("leader-of-three-frozen"),
        AllKilled("all-three-killed"),
        Damaged("record-cut-on-one-of-three", STATE, cut),
        Damaged("record-flipped-on-one-of-three", STATE, flip),
        Damaged("observations-flipped-on-one-of-three", RAW, flip),
    ]
