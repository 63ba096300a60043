"""The way between two parts is bad: slow, late, silent, reset, closed on one side, or cut in the middle of a frame."""

from faults.base import BLIND, ENGINE, LOST, Fault

HOWS = ("latency", "slow", "black_hole", "reset", "half_close", "cut", "refuse")
LINKS = {
    "producer": ("producer-a:nats", "producer-b:nats", "producer-c:nats"),
    "engine": ("producer-a:engine", "producer-b:engine", "producer-c:engine"),
    "sequencer": ("sequencer-0:nats", "sequencer-1:nats"),
    "projector": ("projector-0:nats", "projector-1:nats"),
    "store": ("projector-0:redis", "projector-1:redis"),
    "reconciler": ("reconciler:nats", "reconciler:redis"),
}
# What `make faults` runs: every manner once, and every kind of way.
ONCE = (
    ("latency", "sequencer"),
    ("slow", "producer"),
    ("black_hole", "store"),
    ("black_hole", "sequencer"),
    ("reset", "projector"),
    ("reset", "producer"),
    ("half_close", "sequencer"),
    ("half_close", "engine"),
    ("cut", "producer"),
    ("cut", "store"),
    ("cut", "sequencer"),
    ("refuse", "reconciler"),
    ("latency", "engine"),
)
NOT_THROUGH = frozenset({"GAP_REASON_UNREADABLE", "GAP_REASON_NO_ANSWER"})


class BadWay(Fault):
    hold = 7

    def __init__(self, how: str, kind: str):
        super().__init__(f"{kind}-way-{how.replace('_', '-')}")
        self._how, self._links = how, LINKS[kind]
        self.parts = frozenset(link.split(":")[0] for link in self._links)
        # A node whose way is bad for that long may be lost, or blind; nothing of it is.
        # What is asked for again and again and does not come through is given up, and that is said.
        self.gaps = {"producer": NOT_THROUGH, "sequencer": NOT_THROUGH, "engine": ENGINE}.get(kind, frozenset())
        self.words = {"producer": LOST, "engine": BLIND}.get(kind, frozenset())

    def begin(self, world):
        for link in self._links:
            for way in world.links[link].ways:
                world.machinery.do(getattr(way, self._how)())

    def end(self, world):
        for link in self._links:
            for way in world.links[link].ways:
                world.machinery.do(way.heal())


def faults() -> list[Fault]:
    return [BadWay(how, kind) for how, kind in ONCE]


def every() -> list[Fault]:
    return [BadWay(how, kind) for how in HOWS for kind in LINKS]
