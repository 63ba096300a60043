"""Disks that are full: under NATS, under Redis, under a producer's own folder."""

from faults.base import LOST, Fault

# What is left when a disk is full, in bytes: some writes still fit, and one ends in the middle.
LEFT = 64 * 1024


class DiskFull(Fault):
    """Nothing is lost that was acknowledged, and all goes on by itself when there is space again."""

    hold = 6

    def __init__(self, name: str, disk: str, part: str):
        super().__init__(name)
        self._disk, self.parts = disk, frozenset({part, "disks"})

    def possible(self, world):
        return super().possible(world) and self._disk in world.disks

    def begin(self, world):
        world.disks[self._disk].fill(LEFT)

    def end(self, world):
        world.disks[self._disk].free()


class NatsDiskFull(DiskFull):
    """nats-server turns JetStream off when its disk is full, and on again when it is started again."""

    servers, words = (1, 1), LOST

    def end(self, world):
        super().end(world)
        world.nats.kill()
        world.nats.start()


def faults() -> list[Fault]:
    return [
        NatsDiskFull("disk-full-under-nats", "nats", "nats"),
        DiskFull("disk-full-under-redis", "redis", "redis"),
        DiskFull("disk-full-under-a-producer", "producer-a", "producer-a"),
    ]
