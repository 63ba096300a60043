"""One of three nats-servers: killed, frozen, or with a file that its disk has cut short or changed."""

import asyncio
import signal

from harness.connection import connection
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
        number = leader(world, STATE) if self._leader else world.dice.randrange(len(world.nats.members))
        self._member = world.nats.members[number]
        self._member.kill()

    def end(self, world):
        self._member.start()


class Frozen(MemberFault):
    """The leader of the record stands still for longer than an election takes, and wakes."""

    hold = 12

    def begin(self, world):
        self._member = world.nats.members[leader(world, STATE)]
        self._member.process.signal(signal.SIGSTOP)

    def end(self, world):
        self._member.process.signal(signal.SIGCONT)


class AllKilled(MemberFault):
    def begin(self, world):
        world.nats.kill()

    def end(self, world):
        world.nats.start()


class Damaged(MemberFault):
    """A file of one of three is not what was written. Whatever the cluster makes of it: what is lost is said."""

    gaps, words, breaks_record = ANY, LOST, True
    hold = 1

    def __init__(self, name: str, stream: str, damage):
        super().__init__(name)
        self._stream, self._damage = stream, damage

    def begin(self, world):
        self._member = world.nats.members[leader(world, self._stream)]
        self._member.kill()
        self._damage(last_file(self._member.store, self._stream))

    def end(self, world):
        self._member.start()
        told = world.told()
        eventually(lambda: world.told() > told + 100, 30, "the load went on")


def flip(path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(FLIP_EVERY // 2, len(data), FLIP_EVERY):
        data[place] ^= 1 << place % 8
    path.write_bytes(data)


def leader(world, stream: str) -> int:
    """The number of the server that leads a stream."""

    async def ask(url: str) -> str:
        async with connection(url) as client:
            return (await client.jetstream().stream_info(stream)).cluster.leader

    return int(eventually(lambda: asyncio.run(ask(world.nats.url)), 30, f"{stream} has a leader").removeprefix("n"))


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
