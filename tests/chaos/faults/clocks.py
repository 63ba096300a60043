"""Wall clocks of all roles step back an hour, and forth again: no decision reads one."""

from faults.base import Fault

HOUR = 3600


class ClocksBack(Fault):
    hold = 5
    parts = frozenset({"clocks"})

    def begin(self, world):
        self._set(world, -HOUR)

    def end(self, world):
        self._set(world, 0)

    def _set(self, world, seconds: int) -> None:
        for clock in world.clocks.values():
            clock.set_ahead(seconds)


def faults() -> list[Fault]:
    return [ClocksBack("clocks-back-an-hour")]
