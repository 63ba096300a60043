"""What a snapshot says before everything was stated: that it cannot say. Nothing is taken for missed by it."""

from collections.abc import Callable

import pytest

from harness import bus, http
from harness.bus import ServiceError
from harness.engine import STUBBORN
from harness.holding import Holding
from harness.stack import BRISK, Stack
from harness.stubs import rpc_pb2
from harness.wait import eventually


@pytest.fixture(scope="module")
def installation(tmp_path_factory, engine, binary):
    """One with a reconciler that is always there; the engine holds a list back where it is told to."""
    folder = tmp_path_factory.mktemp("unstated")
    with Holding(folder / "engine.sock", engine.address) as holding:
        stack = Stack(folder, engine, watched=holding.address, settings=BRISK)
        stack.roles.append(stack.make_reconciler("reconciler", "--interval", "200ms"))
        try:
            yield stack.start(), holding
        finally:
            stack.stop()


def restarts(stack: Stack, holding: Holding, meanwhile: Callable[[], None]) -> None:
    stack.producer.kill()
    meanwhile()
    holding.hold()
    stack.producer.start()


def comes_back(stack: Stack, holding: Holding, meanwhile: Callable[[], None]) -> None:
    """The engine."""
    holding.close()
    eventually(lambda: stack.store.node_fields()["status"] == "blind", 30, "the node is blind")
    meanwhile()
    holding.hold()
    holding.open()


def snapshot(stack: Stack) -> rpc_pb2.SnapshotResponse:
    answer = bus.request(stack.nats.url, f"deckwatch.rpc.{stack.node}.snapshot", b"", timeout=5)
    return rpc_pb2.SnapshotResponse.FromString(answer)


def drifts(stack: Stack) -> dict[str, float]:
    samples = http.samples(stack.role("reconciler").port)
    return {name: count for name, count in samples.items() if name.startswith("deckwatch_drifts_total")}


@pytest.mark.parametrize("away", [restarts, comes_back])
def test_nothing_was_missed_before_all_is_stated(installation, containers, away):
    stack, holding = installation
    container = containers.run(STUBBORN)
    last, counted = stack.wait_settled()[0][-1].sequence, drifts(stack)
    try:
        away(stack, holding, lambda: container.stop(timeout=0))
        # The list of the statement: a snapshot after it would be answered at once.
        holding.wait_held()
        with pytest.raises(ServiceError, match="stated") as raised:
            snapshot(stack)
        assert raised.value.code == "503"
        asked = stack.ask("verify", "-o", "json")
        assert asked.code == 3 and asked.json["items"] == [] and "stated" in asked.json["unasked"][0]["reason"], asked
    finally:
        holding.release()
    entries, _ = stack.wait_settled(30)
    assert stack.of_container(container)[-1].state["status"] == "exited"
    stack.producer.wait_ready()
    assert snapshot(stack).missed_events == 0
    told = [entry.record.correction for entry in entries if entry.kind == "correction" and entry.sequence > last]
    assert not told and drifts(stack) == counted, told
