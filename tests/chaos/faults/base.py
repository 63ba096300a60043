"""What a fault is: how it begins and ends, and what is promised of it beyond what always holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from world import World

# Reasons of gaps: of a life whose end nobody knows exactly, of what an engine no longer remembers, and any.
LIFE = frozenset({"GAP_REASON_END_UNKNOWN", "GAP_REASON_END_KNOWN"})
ENGINE = frozenset({"GAP_REASON_ENGINE_OVERFLOW", "GAP_REASON_ENGINE_RESTART", "GAP_REASON_ENGINE_UNSURE"})
ANY = frozenset(
    {
        *LIFE,
        *ENGINE,
        "GAP_REASON_NOT_KEPT",
        "GAP_REASON_NO_ANSWER",
        "GAP_REASON_UNREADABLE",
        "GAP_REASON_HELD_FULL",
        "GAP_REASON_NO_HELLO",
        "GAP_REASON_HISTORY",
        "GAP_REASON_STREAM_CUT",
        "GAP_REASON_QUEUE_FULL",
    }
)
# Words about a node that are said only if there is a reason.
LOST, BLIND = frozenset({"lost", "back"}), frozenset({"blind"})


class Fault:
    # Which parts it breaks: two that break the same one are not on at once.
    parts: frozenset[str] = frozenset()
    # Seconds for which it stays.
    hold: float = 3
    # What may be lost, as long as it is said; and what may be said of a node.
    gaps: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    # The ordered record may lose what it held. The store may: so what is read from it steps back.
    breaks_record = False
    store_steps_back = False
    # What it leaves is not to be gone on with: a copy of the record may have holes for good.
    spoils = False
    # How many nats-servers it needs at least, and at most.
    servers = (1, 3)

    def __init__(self, name: str):
        self.name = name

    def possible(self, world: World) -> bool:
        return self.servers[0] <= world.plan.servers <= self.servers[1]

    def begin(self, world: World) -> None:
        raise NotImplementedError

    def during(self, world: World) -> None:
        """What is promised while it is on; asked only if it is on alone."""

    def end(self, world: World) -> None:
        """All of it is undone."""

    def after(self, world: World) -> None:
        """What is promised once all is right again; asked only if it was on alone."""
