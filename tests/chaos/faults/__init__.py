"""Every fault that there is, by name."""

from faults import clocks, disks, engines, members, nats, nodes, processes, store, ways
from faults.base import Fault

MODULES = (processes, nats, members, store, engines, nodes, ways, disks, clocks)


def all_faults() -> list[Fault]:
    """Those that `make faults` runs, each once."""
    return [fault for module in MODULES for fault in module.faults()]


def for_chaos() -> list[Fault]:
    """Those from which one is drawn at random: ways are bad in any manner, between any two parts."""
    others = [fault for module in MODULES if module is not ways for fault in module.faults()]
    return others + ways.every()
