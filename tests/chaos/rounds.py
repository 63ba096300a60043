"""One round: faults begin under load, stay, and end; then everything that is promised is checked."""

import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from harness.sampler import Sampler
from harness.store import Store
from harness.wait import SLACK, eventually

from faults.base import Fault
from world import INTERVAL, World

# Two intervals: within these all is right again after a fault has ended.
RIGHT_AGAIN = 2 * INTERVAL
# Stands for the last look at an installation, where a fault's name would.
END = "end"
# Events that pass before a fault begins.
WARM = 60
# Until the record tells all that the engines told.
TOLD_MAX = 60


class Claimed(Store):
    """What Redis vouches for: a node that is built anew is `unknown` until it is what it was."""

    def states(self) -> dict[str, dict]:
        return {each: state for each, state in super().states().items() if state.get("status") != "unknown"}


@dataclass
class Outcome:
    """What came of a round."""

    faults: list[str]
    # From the end of the last fault until Redis was right.
    seconds: float | None = None
    records: int = 0
    events: int = 0
    violations: list[str] = field(default_factory=list)


def run(world: World, faults: list[Fault]) -> Outcome:
    outcome = Outcome([fault.name for fault in faults])
    began = _Before(world)
    stores = [] if any(fault.store_steps_back for fault in faults) else [*world.engines]
    samplers = [Sampler(Claimed(world.redis.client(), node)) for node in stores]
    try:
        with ExitStack() as stack:
            for sampler in samplers:
                stack.enter_context(sampler)
            _break(world, faults)
            ended = time.monotonic()
            if any(fault.breaks_record for fault in faults):
                world.read_anew()
                began.gaps, began.words, began.records = {}, {}, 0
            world.wait_right(RIGHT_AGAIN * SLACK, ended)
            outcome.seconds = time.monotonic() - ended
        _check(world, faults, began, outcome)
    except Exception as error:  # whatever it is, it is what the round found
        outcome.violations.append(f"{type(error).__name__}: {error}")
    for sampler in samplers:
        outcome.violations += [f"Redis steps back: {text}" for text in sampler.steps_back]
    outcome.violations += world.ledger.violations + world.repeated()
    outcome.records, outcome.events = world.ledger.records - began.records, world.told() - began.events
    return outcome


class _Before:
    def __init__(self, world: World):
        self.gaps, self.words = dict(world.ledger.gaps), dict(world.ledger.words)
        self.records, self.events = world.ledger.records, world.told()


def _break(world: World, faults: list[Fault]) -> None:
    """The load rests when the last fault has ended: from then on it is counted how long it takes."""
    world.load_goes()
    told = world.told()
    eventually(lambda: world.told() >= told + WARM, 30, "the load goes")
    begun = []
    try:
        for fault in faults:
            begun.append(fault)
            fault.begin(world)
        # The outage itself.
        time.sleep(max(fault.hold for fault in faults))
        if len(faults) == 1:
            faults[0].during(world)
    finally:
        for fault in reversed(begun):
            fault.end(world)
        world.load_rests()


def _check(world: World, faults: list[Fault], began: _Before, outcome: Outcome) -> None:
    gaps = _since(world.ledger.gaps, began.gaps)
    words = _since(world.ledger.words, began.words)
    may_lose = frozenset().union(*(fault.gaps for fault in faults))
    may_say = frozenset().union(*(fault.words for fault in faults))
    outcome.violations += [
        f"{node}: {count} gaps, {reason}" for (node, reason), count in gaps.items() if reason not in may_lose
    ]
    outcome.violations += [
        f"{node} was called {word}, {count} times"
        for (node, word), count in words.items()
        if word in ("lost", "back", "blind", "forgotten") and word not in may_say
    ]
    excused = {node for node, _ in gaps}

    def all_told() -> bool:
        world.read_on()
        untold = {node: count for node, count in world.untold().items() if node not in excused}
        assert not untold, f"events that engines told, and neither the record nor a gap: {untold}"
        return True

    eventually(all_told, TOLD_MAX, "the record tells what the engines told")
    world.excuse_untold()
    if len(faults) == 1:
        faults[0].after(world)


def _since(now: dict, before: dict) -> dict:
    return {key: count - before.get(key, 0) for key, count in now.items() if count > before.get(key, 0)}
