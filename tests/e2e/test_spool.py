"""NATS is away: what a producer sees waits on its disk, within bounds, also for the producer's next process."""

import subprocess
from pathlib import Path

import pytest

from harness import http
from harness.engine import LABEL, STUBBORN
from harness.order import Story, assert_ordered
from harness.stack import BRISK, Role, Stack
from harness.state import FROM_ENGINE, differences
from harness.store import Store
from harness.stream import Entry
from harness.stubs import record_pb2
from harness.wait import eventually

LIFE = ["create", "start", "die", "destroy"]
SPOOL_MAX = 64 << 10


@pytest.fixture(scope="module")
def waiting(tmp_path_factory, engine, binary):
    """An installation whose NATS goes away, and comes back for the next test."""
    stack = Stack(tmp_path_factory.mktemp("spool"), engine, settings=BRISK)
    try:
        stack.launch()
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def producers(waiting):
    """Makes producers of other nodes of the same engine; they end with the test."""
    made = []

    def make(node: str, *flags: str, data_dir: Path | None = None) -> Role:
        role = waiting.make_producer(f"producer-{node}", node=node)
        if data_dir:
            argv = role.process.argv
            argv[argv.index("--data-dir") + 1] = str(data_dir)
        role.process.argv += flags
        made.append(role)
        waiting.roles.append(role)
        return role

    yield make
    for role in made:
        waiting.roles.remove(role)
        role.stop()


@pytest.fixture
def away(waiting):
    """Ends NATS; what it gives starts it again."""

    def back() -> None:
        if not waiting.nats.process.running:
            waiting.nats.start()

    def go() -> None:
        waiting.nats.kill()

    yield go, back
    back()


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    yield disk
    # A process that was killed may hold it for a moment.
    subprocess.run(["umount", "--lazy", disk], check=True)


def spool_files(role: Role, node: str) -> list[Path]:
    argv = role.process.argv
    return sorted((Path(argv[argv.index("--data-dir") + 1]) / "producer" / node / "spool").glob("*.log"))


def spooled(role: Role, node: str, container) -> int:
    """How many observations of a container lie on the disk."""
    return sum(path.read_bytes().count(container.id.encode()) for path in spool_files(role, node))


def wait_spooled(role: Role, node: str, container, count: int = len(LIFE)) -> None:
    def are_there() -> bool:
        found = spooled(role, node, container)
        assert found >= count, f"{found} of {count}"
        return True

    eventually(are_there, 30, f"{count} observations of a container are on the disk")


def live_and_die(engine):
    container = engine.run(["sh", "-c", "exit 3"])
    container.wait()
    container.remove()
    return container


def own(stack: Stack, states: dict[str, dict]) -> dict[str, dict]:
    return {each: state for each, state in states.items() if state["labels"].get(LABEL) == stack.engine.run_id}


def right(stack: Stack, node: str) -> bool:
    """The node is alive, and each container of these tests is as the engine has it: others may change all the time."""
    store = Store(stack.store.client, node)
    assert store.current() and store.node_fields().get("status") == "alive", store.node_fields()
    truth, stored = (own(stack, states) for states in (stack.engine.states(node), store.states()))
    assert stored.keys() == truth.keys(), stored.keys() ^ truth.keys()
    found = {each: differences(stored[each], truth[each], FROM_ENGINE) for each in truth}
    assert not any(found.values()), found
    return True


def told(stack: Stack, node: str) -> tuple[list[Entry], Story]:
    """What the record says once it is right: in order, with each observation once."""
    eventually(lambda: right(stack, node), 60, f"{node} is right")
    entries = [entry for entry in stack.entries() if entry.node == node]
    return entries, assert_ordered(entries, node)


def actions(entries: list[Entry], container) -> list[str]:
    """What the record tells of a container's life."""
    return [entry.action for entry in entries if entry.about == container.id and entry.action]


def test_killed_while_nats_is_away(waiting, containers, away):
    go, back = away
    stack = waiting
    stack.producer.wait_ready()
    stays, goes = containers.run(STUBBORN), containers.run(STUBBORN)
    told(stack, stack.node)

    go()
    first = live_and_die(containers)
    goes.remove(force=True)
    wait_spooled(stack.producer, stack.node, first)
    wait_spooled(stack.producer, stack.node, goes, count=3)
    assert http.samples(stack.producer.port)["deckwatch_spool_bytes"] > 0
    stack.producer.kill()
    unheard = live_and_die(containers)
    stack.producer.start()
    second = live_and_die(containers)
    wait_spooled(stack.producer, stack.node, second)
    stack.producer.kill()
    stack.producer.start()
    new = containers.run(STUBBORN)
    back()

    entries, story = told(stack, stack.node)
    assert story.epochs == [1, 2]
    for container in (first, unheard, second):
        assert actions(entries, container) == LIFE, container.id
    assert not any(entry.record.event.replayed for entry in entries if entry.about == first.id)
    heard = [entry.action for entry in entries if entry.about == goes.id and not entry.record.event.replayed]
    assert [action for action in heard if action][-3:] == ["kill", "die", "destroy"]
    begun = next(index for index, entry in enumerate(entries) if entry.record.epoch == 2)
    history = [entry for entry in entries[begun:] if entry.about in (first.id, second.id)]
    assert history and all(entry.kind == "event" for entry in history), "of a life before it is no state left"
    assert not [gap for gap in story.engine_gaps if gap.record.gap.reason == record_pb2.GAP_REASON_QUEUE_FULL]
    states = Store(stack.store.client, stack.node).states()
    assert {states[each.id]["status"] for each in (stays, new)} == {"running"}

    def is_empty() -> bool:
        assert not spool_files(stack.producer, stack.node)
        return http.samples(stack.producer.port)["deckwatch_spool_bytes"] == 0

    eventually(is_empty, 20, "what is stored is off the disk")


def test_more_than_the_bound(waiting, containers, producers, away):
    go, back = away
    role = producers("tiny", "--spool-max-bytes", str(SPOOL_MAX))
    role.start()
    role.wait_ready()
    container = containers.run(STUBBORN)
    told(waiting, "tiny")

    go()
    base, renames = container.name, 500
    for number in range(renames):
        container.rename(f"{base}-{number}")
    live_and_die(containers)
    assert sum(path.stat().st_size for path in spool_files(role, "tiny")) <= SPOOL_MAX
    back()

    entries, story = told(waiting, "tiny")
    assert Store(waiting.store.client, "tiny").state(container.id)["name"] == f"{base}-{renames - 1}"
    full = [gap.record.gap for gap in story.engine_gaps if gap.record.gap.reason == record_pb2.GAP_REASON_QUEUE_FULL]
    lost = sum(gap.lost for gap in full)
    heard = actions(entries, container).count("rename")
    assert full and lost > 0 and heard < renames and heard + lost >= renames, (heard, lost)
    assert story.epochs == [1]


def test_starts_while_nats_is_away(waiting, containers, producers, away):
    go, back = away
    go()
    role = producers("late")
    role.start()

    def hears() -> bool:
        container = live_and_die(containers)
        eventually(lambda: spooled(role, "late", container) == len(LIFE), 2, "it is on the disk")
        heard.append(container)
        return True

    heard = []
    eventually(hears, 30, "it watches the engine")
    live = live_and_die(containers)
    wait_spooled(role, "late", live)
    back()
    entries, story = told(waiting, "late")
    assert actions(entries, live) == LIFE
    assert story.epochs == [1] and not story.engine_gaps, story.engine_gaps
    assert entries[0].stamp == "0.1-" and entries[0].kind == "gap" or entries[0].kind == "node_change.hello"


def test_the_disk_is_full_for_a_while(waiting, containers, producers, away, small_disk):
    go, back = away
    role = producers("full", data_dir=small_disk)
    role.start()
    role.wait_ready()
    told(waiting, "full")

    go()
    first = live_and_die(containers)
    wait_spooled(role, "full", first)
    fill = small_disk / "fill"
    with fill.open("wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))
    meanwhile = [live_and_die(containers) for _ in range(40)]

    def says_so() -> bool:
        _, reason = http.readiness(role.port)
        assert "spool" in reason and "No space left" in reason, reason
        return True

    eventually(says_so, 30, "it says that the disk is full")
    fill.unlink()
    wait_spooled(role, "full", meanwhile[-1])
    assert "spool" not in http.readiness(role.port)[1]
    log = role.process.stderr.read_text()
    assert log.count("cannot write the spool") == 1, "said once"
    back()

    entries, story = told(waiting, "full")
    for container in (first, *meanwhile):
        assert actions(entries, container) == LIFE, container.id
    assert story.epochs == [1] and not story.engine_gaps
