"""Events that an engine keeps from its producer: what they would have told is found, published and counted."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from docker.errors import APIError
from docker.models.containers import Container

from harness import bus, http
from harness.churn import Churn
from harness.engine import LABEL, STUBBORN, Engine
from harness.events import Censor, all_of, passes
from harness.stack import Stack
from harness.stream import Entry
from harness.stubs import record_pb2
from harness.wait import eventually, promised

# Seconds between two doubts. An event is given longer than that to come, so it cannot show what two intervals promise.
INTERVAL = 0.5
# What the default interval, 5 s, promises.
PROMISED = 10
# Containers that are there all the time, so that whose turn it is to be looked at is seldom whose change was kept.
OTHERS = 20
# Snapshots that find what a row shows: one that was asked before it happened, the one that finds it, and as many again
# for a slow machine.
FEW = 4


class Doubts:
    """The reconciler: what it counted, and how often it asked the producer."""

    def __init__(self, stack: Stack, *flags: str):
        self._stack = stack
        self._role = stack.make_reconciler("reconciler", *flags)
        stack.roles.append(self._role)

    @property
    def drifts(self) -> dict[str, float]:
        """By kind."""
        found = http.samples(self._role.port).items()
        return {name: count for name, count in found if name.startswith("deckwatch_drifts_total")}

    @property
    def missed(self) -> float:
        return self.drifts.get('deckwatch_drifts_total{kind="missed_event"}', 0)

    @property
    def asked(self) -> int:
        """Requests for a snapshot that the producer has answered."""
        return bus.requests_answered(self._stack.nats.url, f"deckwatch-{self._stack.node}", "snapshot")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nobody asks for a snapshot."""
        self._role.process.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._role.process.signal(signal.SIGCONT)


@dataclass
class Kept:
    stack: Stack
    censor: Censor
    doubts: Doubts


@pytest.fixture(scope="module")
def others(engine):
    made = [engine.create(STUBBORN, labels={LABEL: f"{engine.run_id}-others"}) for _ in range(OTHERS)]
    yield made
    for container in made:
        container.remove()


@pytest.fixture(scope="module")
def installation(tmp_path_factory, engine, binary, others):
    folder = tmp_path_factory.mktemp("events")
    yield from installed(folder, engine, "--interval", f"{INTERVAL * 1000:.0f}ms")


@pytest.fixture
def unhurried(tmp_path_factory, engine, binary, containers):
    """The same with the default interval."""
    yield from installed(tmp_path_factory.mktemp("unhurried"), engine)


def installed(folder: Path, engine: Engine, *flags: str) -> Iterator[Kept]:
    with Censor(folder / "engine.sock", engine.address) as censor:
        stack = Stack(folder, engine, watched=censor.address)
        doubts = Doubts(stack, *flags)
        try:
            yield Kept(stack.start(), censor, doubts)
        finally:
            stack.stop()


@pytest.fixture
def kept(installation, containers):
    yield installation
    installation.censor.swallows = passes


# --- one that is kept ---


@dataclass
class Loss:
    """What happens to a container whose events are kept, and what is to be found."""

    make: Callable[[Engine], Container]
    act: Callable[[Engine, Container], None]
    kept: list[str]
    found: dict


def started(command: str, **options) -> Callable[[Engine], Container]:
    return lambda engine: engine.run(["sh", "-c", command], **options)


def go(engine: Engine, container: Container) -> None:
    engine.put(container, "/tmp/go", b"")


WAITS = "until test -e /tmp/go; do sleep 0.05; done"
FAILS_AFTER_GO = started(f"{WAITS}; exit 3")
# Ends once when it is told to, is started again by the engine, and then stays.
COMES_BACK = started(
    f"test -e /tmp/go && exec sleep 1000; {WAITS}; exit 1", restart_policy={"Name": "on-failure", "MaximumRetryCount": 5}
)


def ended(engine: Engine) -> Container:
    container = engine.run(["sh", "-c", "test -e /tmp/go && exec sleep 1000; exit 3"])
    container.wait()
    go(engine, container)
    return container


LOSSES = {
    "a die": Loss(FAILS_AFTER_GO, go, ["die"], {"status": "exited", "exit_code": 3, "stop_cause": "crashed"}),
    "a start": Loss(ended, lambda _, container: container.start(), ["start"], {"status": "running"}),
    "the first start": Loss(
        lambda engine: engine.create(STUBBORN), lambda _, container: container.start(), ["start"], {"status": "running"}
    ),
    "a destroy": Loss(
        ended, lambda _, container: container.remove(), ["destroy"], {"status": "removed", "stop_cause": "crashed"}
    ),
    "a pause": Loss(started("sleep 1000"), lambda _, container: container.pause(), ["pause"], {"status": "paused"}),
    "all of an end": Loss(
        started(f"{WAITS}; exit 3", auto_remove=True),
        go,
        ["die", "destroy"],
        {"status": "removed", "stop_cause": "vanished"},
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_was_kept_is_found(kept, containers, loss):
    make, act, events, found = LOSSES[loss].make, LOSSES[loss].act, LOSSES[loss].kept, LOSSES[loss].found
    container = make(containers)
    wait_quiet(kept, containers, container)
    before, missed = kept.stack.of_container(container), kept.doubts.missed
    kept.censor.swallows = all_of(container, *events)
    act(containers, container)

    entry = promised(lambda: is_found(kept, container, before, found), 2 * INTERVAL, f"what {loss} would have told")
    assert swallowed(kept, container) == events
    assert_said(kept, entry, container, missed)
    assert not set(events) & {entry.action for entry in kept.stack.of_container(container)[len(before) :]}
    kept.stack.wait_settled()


def test_what_was_kept_is_found_within_two_intervals(unhurried, containers):
    """As promised, whatever the machine does: three at once, so that it takes no longer than one."""
    kept, made = unhurried, {}
    for name in ("a die", "a start", "a destroy"):
        container = LOSSES[name].make(containers)
        wait_quiet(kept, containers, container)
        made[name] = (container, kept.stack.of_container(container))
    predicates = [all_of(container, *LOSSES[name].kept) for name, (container, _) in made.items()]
    kept.censor.swallows = lambda event: any(swallows(event) for swallows in predicates)
    missed, began = kept.doubts.missed, time.monotonic()
    for name, (container, _) in made.items():
        LOSSES[name].act(containers, container)

    def all_found() -> list[Entry] | None:
        found = [is_found(kept, container, before, LOSSES[name].found) for name, (container, before) in made.items()]
        return found if all(found) else None

    entries = eventually(all_found, PROMISED, "what all three would have told", began)
    for entry, (name, (container, _)) in zip(entries, made.items(), strict=True):
        assert swallowed(kept, container) == LOSSES[name].kept
        assert_named(kept, entry, container)
    assert_counted(kept, missed, len(made))


def test_a_rename_is_found(kept, containers):
    container = containers.run(STUBBORN)
    wait_quiet(kept, containers, container)
    before, missed = kept.stack.of_container(container), kept.doubts.missed
    kept.censor.swallows = all_of(container, "rename")
    name = f"renamed-{containers.run_id}"
    container.rename(name)
    entry = promised(lambda: is_found(kept, container, before, {"name": name}), 2 * INTERVAL, "its new name")
    assert_said(kept, entry, container, missed)


def test_a_create_is_found(kept, containers):
    """And the failure of its start, which no event tells, and no row of the engine's list."""
    label, missed = f"{LABEL}.create", kept.doubts.missed
    kept.censor.swallows = lambda event: event["Type"] == "network" or label in event["Actor"]["Attributes"]
    container = containers.create(["not-in-the-path"], labels={label: ""})
    entry = promised(lambda: is_found(kept, container, [], {"status": "created"}), 2 * INTERVAL, "what was made")
    assert_said(kept, entry, container, missed)
    with pytest.raises(APIError, match="not-in-the-path"):
        container.start()
    asked = kept.doubts.asked
    failed = {"status": "start_failed", "exit_code": 127, "stop_cause": "start_failed"}
    promised(lambda: is_found(kept, container, [entry], failed), 2 * INTERVAL, "that its start failed")
    asked = kept.doubts.asked - asked
    assert asked <= FEW, f"found by {asked} snapshots"
    kept.stack.wait_settled()


def is_found(kept: Kept, container: Container, before: list[Entry], found: dict) -> Entry | None:
    entries = kept.stack.of_container(container)[len(before) :]
    if not entries:
        return None
    state = entries[-1].state
    assert {name: state.get(name) for name in found} == found, state
    return entries[-1]


def swallowed(kept: Kept, container: Container) -> list[str]:
    return [event["Action"] for event in kept.censor.swallowed if event["Actor"]["ID"] == container.id]


def assert_said(kept: Kept, entry: Entry, container: Container, missed: float) -> None:
    """It is named, and was counted once."""
    assert_named(kept, entry, container)
    assert_counted(kept, missed, 1)


def assert_named(kept: Kept, entry: Entry, container: Container) -> None:
    """The record has its cause and no event, and the correction before it says the same."""
    said = (entry.record.cause, entry.action)
    assert said == (record_pb2.CAUSE_SNAPSHOT, None), said
    corrections = [each for each in kept.stack.entries() if each.kind == "correction"]
    corrections = [each for each in corrections if each.record.correction.container_id == container.id]
    assert corrections and corrections[-1].sequence < entry.sequence
    assert corrections[-1].record.correction.drift == record_pb2.DRIFT_KIND_MISSED_EVENT


def assert_counted(kept: Kept, missed: float, count: int) -> None:
    eventually(lambda: kept.doubts.missed >= missed + count, 10, "it is counted")
    asked = kept.doubts.asked
    # One may be under way.
    eventually(lambda: kept.doubts.asked > asked + 1, 20, "another look")
    assert kept.doubts.missed == missed + count


# --- a whole life between two rows ---


def test_a_restart_shows_in_its_age(kept, containers):
    """Of two rows that are alike but for their age: found at once, and not when its turn comes."""
    container = COMES_BACK(containers)
    kept.stack.wait_settled()
    eventually(lambda: age(containers, container) > 5, 20, "it is old enough to be told from a new one")
    asked = kept.doubts.asked
    entry = lose_a_restart(kept, containers, container, 2 * INTERVAL)
    asked = kept.doubts.asked - asked
    assert asked <= FEW, f"found by {asked} snapshots"
    assert entry.state["restart_count"] == 1


def test_a_restart_that_shows_nowhere_is_found_in_turn(kept, containers):
    """Nothing lies between its start and its restart that takes long: two seconds would show in its age."""
    everyone = len(containers.states(kept.stack.node)) + 1
    container = COMES_BACK(containers)
    wait_quiet(kept, containers, container)
    lose_a_restart(kept, containers, container, (everyone + 2) * INTERVAL)


def wait_quiet(kept: Kept, engine: Engine, container: Container) -> None:
    """All of it is known, and no look follows the container's start any more: the last comes half a second after it."""
    kept.stack.wait_settled()
    eventually(lambda: age(engine, container) > 0.9, 20, "its start is over")


def age(engine: Engine, container: Container) -> float:
    """Seconds since it was started, or made."""
    state = engine.state(container, "")
    began = datetime.fromisoformat(state.get("started_at", state["created_at"])[:26] + "+00:00")
    return (datetime.now(UTC) - began).total_seconds()


def lose_a_restart(kept: Kept, engine: Engine, container: Container, bound: float) -> Entry:
    """Keeps its end and its start: returns the record of what was found."""
    before, missed = kept.stack.of_container(container), kept.doubts.missed
    kept.censor.swallows = all_of(container, "die", "start")

    def restarted() -> bool:
        inspect = engine.client.api.inspect_container(container.id)
        return inspect["RestartCount"] == 1 and inspect["State"]["Status"] == "running"

    # Between its end and its start a row would show it.
    with kept.doubts.paused():
        go(engine, container)
        eventually(restarted, 20, "it was restarted")
    found = {"status": "running", "restart_count": 1}
    entry = promised(lambda: is_found(kept, container, before, found), bound, "another life")
    assert swallowed(kept, container) == ["die", "start"]
    assert entry.state["pid"] != before[-1].state["pid"]
    assert_said(kept, entry, container, missed)
    return entry


# --- none that is kept ---


def test_nothing_is_counted_where_nothing_was_kept(kept, containers):
    last = kept.stack.wait_settled()[0][-1].sequence
    drifts, asked = kept.doubts.drifts, kept.doubts.asked
    # An engine under load shows a start seconds before it tells of it: that is not what is tested here.
    with Churn(containers, threads=1, pause=0.2) as churn:
        churn.keep_on(6)
        assert kept.doubts.asked > asked + 3
    entries, _ = kept.stack.wait_settled()
    invented = [entry.record.correction for entry in entries if entry.sequence > last and entry.kind == "correction"]
    assert not invented, f"changes that no event was found to tell: {invented}"
    assert kept.doubts.drifts == drifts
