"""Two engines of different versions at once, each a node: both are right, and one that goes leaves the other alone."""

import os
import re
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from docker.errors import APIError
from docker.models.containers import Container

from harness import bus
from harness.daemon import Daemon, machine_programs, newer_programs
from harness.engine import OBEDIENT, STUBBORN, Engine
from harness.nodes import assert_each_equals
from harness.order import assert_ordered
from harness.stack import Stack
from harness.store import Store, assert_equals_record
from harness.stream import Entry
from harness.stubs import record_pb2
from harness.wait import eventually

SERVICE = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
ALWAYS = {"Name": "always"}
# Ends with 0 on a signal that by itself asks for no end: only the engine's `stop` tells that one was asked for.
RELOADED = ["sh", "-c", "trap 'exit 0' USR1; while :; do sleep 0.1; done"]
# The signals that a command has to catch before anything is done to it.
CATCHES = [(OBEDIENT, signal.SIGTERM), (RELOADED, signal.SIGUSR1)]


class Two:
    """One installation, and a node for each engine: `old` is the machine's, `new` the one that was unpacked."""

    def __init__(self, stack: Stack, daemons: dict[str, Daemon]):
        self.stack, self.daemons = stack, daemons
        client = stack.store.client
        self.stores = {node: Store(client, node) for node in daemons}
        stack.roles.append(stack.make_producer("producer-new", node="new", watched=daemons["new"].address))
        stack.roles.append(stack.make_reconciler("reconciler", "--interval", "1s"))

    def engine(self, node: str) -> Engine:
        return self.daemons[node].engine

    def wait_right(self, within: float = 30) -> list[Entry]:
        """Both nodes equal their engines and their subjects, and the order of both holds: returns the records."""

        def right() -> list[Entry]:
            assert_each_equals([(store, self.engine(node).states(node)) for node, store in self.stores.items()])
            entries = self.stack.entries()
            for store in self.stores.values():
                assert_equals_record(store, entries)
            return entries

        entries = eventually(right, within, "both nodes are right", every=0.2)
        for node in self.stores:
            story = assert_ordered(entries, node)
            assert story.epochs == [1] and not story.stamp_gaps
        return entries

    def wait_doubted(self) -> None:
        """The reconciler has looked at both once more, from beginning to end."""
        url, nodes = self.stack.nats.url, list(self.stores)
        before = {node: bus.requests_answered(url, f"deckwatch-{node}", "snapshot") for node in nodes}

        def looked() -> bool:
            # The first answer may be to a look that had begun, the third is to one after the second was compared.
            return all(bus.requests_answered(url, f"deckwatch-{node}", "snapshot") > before[node] + 2 for node in nodes)

        eventually(looked, 30, "the reconciler has looked", every=0.2)

    def cause(self, node: str, container: Container) -> str | None:
        """Why a container ended, or was removed, as its last record tells."""
        subject = f"deckwatch.state.0.{node}.{container.id}"
        told = [entry for entry in self.stack.entries(subject=subject) if entry.record.HasField("container")]
        return told[-1].state.get("stop_cause") if told else None

    def actions(self, node: str, container: Container) -> list[str]:
        subject = f"deckwatch.state.0.{node}.{container.id}"
        return [entry.action for entry in self.stack.entries(subject=subject) if entry.action]


@pytest.fixture(scope="module")
def two(tmp_path_factory, binary):
    run = f"two-{os.getpid()}"
    with ExitStack() as stay:
        daemons = {
            "old": stay.enter_context(Daemon("old", machine_programs(), run)),
            "new": stay.enter_context(Daemon("new", newer_programs(), run)),
        }
        versions = {node: daemon.engine.client.version()["Version"] for node, daemon in daemons.items()}
        assert len(set(versions.values())) == 2, versions
        two = Two(Stack(tmp_path_factory.mktemp("two"), daemons["old"].engine, "old"), daemons)
        try:
            two.stack.launch()
            yield two
        finally:
            two.stack.stop()


@pytest.fixture
def nodes(two):
    """Both, without containers at the beginning and at the end."""
    yield two
    for daemon in two.daemons.values():
        daemon.engine.remove_all()


# --- both at once ---


def test_each_is_a_node(nodes):
    for node, store in nodes.stores.items():
        engine = nodes.engine(node)
        engine.run(STUBBORN, labels=SERVICE)
        engine.run(["sh", "-c", "exit 3"], labels=SERVICE).wait()
        engine.create(OBEDIENT)
        info, said = engine.client.info(), store.node_fields()
        assert (said["engine_id"], said["engine_version"]) == (info["ID"], info["ServerVersion"])
    nodes.wait_right()
    totals = nodes.stack.redis.client().hgetall("deckwatch:service:shop/web")
    assert (totals["containers"], totals["running"], totals["failed"], totals["nodes"]) == ("4", "2", "2", "2")
    rows = nodes.stack.ask("nodes", "-o", "json").json["items"]
    assert {row["name"]: row["status"] for row in rows} == {"old": "alive", "new": "alive"}


def start_stop(command: list[str], timeout: int, **options) -> Callable[[Engine], Container]:
    def act(engine: Engine) -> Container:
        container = begin(engine, command, **options)
        container.stop(timeout=timeout)
        return container

    return act


def start_kill(command: list[str], number: str) -> Callable[[Engine], Container]:
    def act(engine: Engine) -> Container:
        container = begin(engine, command)
        container.kill(number)
        return container

    return act


def start_only(command: list[str], **options) -> Callable[[Engine], Container]:
    return lambda engine: engine.run(command, **options)


def start_remove(engine: Engine) -> Container:
    container = engine.run(STUBBORN)
    container.remove(force=True)
    return container


def start_in_vain(engine: Engine) -> Container:
    container = engine.create(["not-in-the-path"])
    with pytest.raises(APIError, match="not-in-the-path"):
        container.start()
    return container


def stop_between_starts(engine: Engine) -> Container:
    container = engine.run(["sh", "-c", "exit 1"], restart_policy=ALWAYS)
    inspect = engine.client.api.inspect_container
    eventually(lambda: inspect(container.id)["RestartCount"] > 3, 30, "it waits between two starts")
    container.stop(timeout=20)
    return container


ENDS = {
    "ended with 0": (start_only(["true"]), "completed"),
    "ended with 3": (start_only(["sh", "-c", "exit 3"]), "crashed"),
    "ended with 3, removed by itself": (start_only(["sh", "-c", "sleep 1; exit 3"], auto_remove=True), "crashed"),
    "stopped": (start_stop(OBEDIENT, 20), "stopped"),
    "stopped by its own signal": (start_stop(RELOADED, 20, stop_signal="SIGUSR1"), "stopped"),
    "not stopped in time": (start_stop(STUBBORN, 1), "killed"),
    "stopped between two starts": (stop_between_starts, "stopped"),
    "TERM": (start_kill(OBEDIENT, "SIGTERM"), "stopped"),
    "KILL": (start_kill(STUBBORN, "SIGKILL"), "killed"),
    "removed by force": (start_remove, "removed"),
    "not started": (start_in_vain, "start_failed"),
}


@pytest.mark.parametrize("end", ENDS)
def test_an_end_has_the_same_cause_on_both(nodes, end):
    """Whether the engine tells `stop` before `die` or after it."""
    act, cause = ENDS[end]
    containers = {node: act(nodes.engine(node)) for node in nodes.stores}

    def told() -> bool:
        causes = {node: nodes.cause(node, container) for node, container in containers.items()}
        assert set(causes.values()) == {cause}, causes
        return True

    eventually(told, 20, cause)
    nodes.wait_right()
    assert told()
    print({node: nodes.actions(node, container) for node, container in containers.items()})


# --- one goes away and comes back ---


class Away:
    """What is true while a node's engine is away, and of the other node all the time."""

    def __init__(self, nodes: Two, node: str):
        self.nodes, self.node, self.other = nodes, node, {"old": "new", "new": "old"}[node]
        self.beside = nodes.engine(self.other).run(STUBBORN)
        self.last = nodes.wait_right()[-1].sequence
        self.before = {node: store.states() for node, store in nodes.stores.items()}

    def is_said(self) -> None:
        """The node is blind, and says why; its containers are unknown, and what they were stays."""
        store = self.nodes.stores[self.node]
        fields = eventually(
            lambda: (found := store.node_fields())["status"] == "blind" and found, 30, f"{self.node} is blind"
        )
        assert self.nodes.daemons[self.node].address in fields["reason"], fields
        states = store.states()
        assert states.keys() == self.before[self.node].keys(), "a failed look deletes nothing"
        for container_id, state in states.items():
            was = self.before[self.node][container_id]
            assert (state["status"], state["last_status"]) == ("unknown", was["status"])

    def leaves_the_other_alone(self) -> None:
        """It is watched as ever; what it had is as it was."""
        store = self.nodes.stores[self.other]
        fresh = self.nodes.engine(self.other).run(["sh", "-c", "exit 3"])
        eventually(lambda: (store.state(fresh.id) or {}).get("status") == "exited", 20, f"{self.other} is watched")
        assert store.node_fields()["status"] == "alive" and store.current()
        assert store.state(self.beside.id) == self.before[self.other][self.beside.id]

    def is_over(self) -> list[Entry]:
        """Right again; the other node was told of nothing but its own events. Returns the records of the node.

        The reconciler found nothing: what differed was under way, or nobody could be asked.
        """
        self.nodes.wait_right()
        self.nodes.wait_doubted()
        entries = [entry for entry in self.nodes.wait_right() if entry.sequence > self.last]
        assert not [entry.record.correction for entry in entries if entry.kind == "correction"]
        for store in self.nodes.stores.values():
            assert store.node_fields()["status"] == "alive" and "reason" not in store.node_fields()
        beside = [entry for entry in entries if entry.node == self.other]
        assert {entry.kind for entry in beside} <= {"container", "node_change.cursor"}
        assert all(entry.action for entry in beside if entry.kind == "container")
        return [entry for entry in entries if entry.node == self.node]


def begin(engine: Engine, command: list[str], **options) -> Container:
    """Runs it until it does with its signal what it is to do."""
    container = engine.run(command, **options)
    for number in (number for trapped, number in CATCHES if trapped is command):
        eventually(lambda: catches(pid_of(engine, container), number), 20, "its shell has set its trap")
    return container


def catches(pid: int, number: signal.Signals) -> bool:
    (caught,) = re.findall(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(caught, 16) & 1 << (number - 1))


def pid_of(engine: Engine, container: Container) -> int:
    return engine.client.api.inspect_container(container.id)["State"]["Pid"]


def gaps(entries: list[Entry]) -> list[int]:
    return [entry.record.gap.reason for entry in entries if entry.kind == "gap"]


NODES = pytest.mark.parametrize("node", ["old", "new"])


@NODES
def test_an_engine_is_restarted(nodes, node):
    """It stops what it runs, and says so before it goes: these ends were seen."""
    engine, daemon = nodes.engine(node), nodes.daemons[node]
    earlier = engine.run(["sh", "-c", "exit 3"])
    stops = begin(engine, OBEDIENT)
    returns = begin(engine, OBEDIENT, restart_policy=ALWAYS)
    away = Away(nodes, node)
    daemon.stop()
    away.is_said()
    away.leaves_the_other_alone()
    daemon.start()
    away.is_over()
    assert nodes.cause(node, earlier) == "crashed"
    assert nodes.cause(node, stops) == "stopped"
    assert nodes.stores[node].state(returns.id)["status"] == "running"
    assert_sees(nodes, node)


@NODES
def test_an_engine_is_killed(nodes, node):
    """What ends while it is away, nobody sees; what outlives it is shut down by its next start, which says so."""
    engine, daemon = nodes.engine(node), nodes.daemons[node]
    earlier = engine.run(["sh", "-c", "exit 3"])
    dies, leaves = engine.run(STUBBORN), engine.run(STUBBORN, auto_remove=True)
    returns = engine.run(STUBBORN, restart_policy=ALWAYS)
    outlives = begin(engine, OBEDIENT)
    away = Away(nodes, node)
    pids = [pid_of(engine, container) for container in (dies, leaves, returns)]
    daemon.kill()
    away.is_said()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    away.leaves_the_other_alone()
    daemon.start()
    entries = away.is_over()
    assert gaps(entries) == [record_pb2.GAP_REASON_ENGINE_RESTART]
    assert nodes.cause(node, earlier) == "crashed"
    assert nodes.cause(node, dies) == "daemon_restart"
    assert nodes.cause(node, leaves) == "daemon_restart"
    assert nodes.stores[node].state(returns.id)["status"] == "running"
    assert nodes.cause(node, outlives) == "stopped"
    assert_sees(nodes, node)


def assert_sees(nodes: Two, node: str) -> None:
    """What ends from now on is seen, and named as ever."""
    engine = nodes.engine(node)
    fails, is_stopped = engine.run(["sh", "-c", "exit 3"]), begin(engine, OBEDIENT)
    is_stopped.stop(timeout=20)
    nodes.wait_right()
    assert (nodes.cause(node, fails), nodes.cause(node, is_stopped)) == ("crashed", "stopped")
