"""Disks that are full: under NATS, under Redis, under a producer's own folder."""

from harness import http
from harness.wait import eventually

from faults.base import LOST, Fault
from faults.processes import PROJECTORS, SEQUENCERS

# What is left when a disk is full, in bytes: some writes still fit, and one ends in the middle.
LEFT = 64 * 1024


class DiskFull(Fault):
    """Nothing is lost that was acknowledged, and all goes on by itself when there is space again."""

    hold = 6

    def __init__(self, name: str, disk: str, part: str, *told_by: str):
        """`told_by` are roles of which at least one cannot work without that disk."""
        super().__init__(name)
        self._disk, self.parts, self._told_by = disk, frozenset({part, "disks"}), told_by

    def possible(self, world):
        return super().possible(world) and self._disk in world.disks

    def begin(self, world):
        world.disks[self._disk].fill(LEFT)

    def during(self, world):
        def told() -> bool:
            return any(http.readiness(world.roles[name].port)[0] == 503 for name in self._told_by)

        if self._told_by:
            eventually(told, 30, "a role says that it cannot work")

    def end(self, world):
        world.disks[self._disk].free()


class NatsDiskFull(DiskFull):
    """A stream that could not be written once takes nothing more until its server is started anew: `up` and the health
    check of the compose file do that."""

    servers, words = (1, 1), LOST

    def end(self, world):
        super().end(world)
        world.nats.kill()
        world.nats.start()


def faults() -> list[Fault]:
    return [
        NatsDiskFull("disk-full-under-nats", "nats", "nats", *SEQUENCERS, "producer-a"),
        DiskFull("disk-full-under-redis", "redis", "redis", *PROJECTORS),
        DiskFull("disk-full-under-a-producer", "producer-a", "producer-a"),
    ]
