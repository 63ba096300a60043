"""`gaps`: what is known to be lost, and which drifts were found."""

import shutil

import pytest

from harness import bus
from harness.engine import STUBBORN
from harness.stubs import record_pb2, rpc_pb2
from harness.wait import eventually


def answered(stack, *flags: str) -> dict:
    result = stack.ask("gaps", "-o", "json", *flags)
    assert result.code == 0 and result.err == "", result
    assert set(result.json) == {"revision", "items"}, result
    return result.json


@pytest.fixture(scope="module")
def edited(engine):
    """A container of which a drift is reported."""
    return engine.run(STUBBORN)


@pytest.fixture(scope="module")
def troubled(stack, edited):
    """A life that ended, and nobody knows where; then a drift that was reported."""
    stack.wait_settled()
    stack.producer.kill()
    shutil.rmtree(stack.folder / "producer")
    stack.producer.start()
    stack.producer.wait_ready()
    stack.wait_settled()
    correction = record_pb2.Correction(
        drift=record_pb2.DRIFT_KIND_EDITED_STORE, container_id=edited.id, fields=["name", "pid"]
    )
    request = rpc_pb2.ResyncRequest(container_ids=[edited.id], corrections=[correction])
    bus.request(stack.nats.url, f"deckwatch.rpc.{stack.node}.resync", request.SerializeToString())
    eventually(lambda: kinds(stack)[-1:] == ["correction"], 15, "the correction stands in the record")
    stack.wait_settled()
    return stack


def kinds(stack) -> list[str]:
    return [entry.kind for entry in stack.entries() if entry.about == "gap"]


def test_gaps_says_what_the_record_says(troubled, edited):
    items = answered(troubled)["items"]
    assert [item["type"] for item in items] == kinds(troubled)
    lost = next(item for item in items if item["type"] == "gap")
    assert lost["node"] == troubled.node and lost["recorded_at"].endswith("Z")
    assert lost["gap"]["reason"] == "end_unknown" and lost["gap"]["epoch"] == 1, lost
    assert lost["gap"]["from"] > 1 and "to" not in lost["gap"] and lost["gap"]["action"], lost
    found = items[-1]
    assert found["container_id"] == edited.id
    assert (found["correction"]["drift"], found["correction"]["fields"]) == ("edited_store", ["name", "pid"])


def test_gaps_as_a_table(troubled, edited):
    result = troubled.ask("gaps")
    assert result.code == 0 and result.err == "", result
    heading, *rows = result.out.splitlines()
    assert heading.split()[:5] == ["TIME", "NODE", "WHAT", "RANGE", "REASON"]
    assert any("stamps" in row and "end_unknown" in row and troubled.node in row for row in rows), result
    assert any(edited.id[:12] in row and "name pid" in row and "edited_store" in row for row in rows), result


def test_gaps_of_a_node(troubled):
    assert answered(troubled, "--node", troubled.node)["items"] == answered(troubled)["items"]
    assert answered(troubled, "--node", "another")["items"] == []


def test_gaps_name_a_revision_to_go_on_from(troubled, containers):
    """What a watch from there tells is not in the list."""
    revision = answered(troubled)["revision"]
    container = containers.run(STUBBORN)
    result = troubled.ask("watch", "--from", revision, "-o", "json", "--count", "2")
    assert result.code == 0, result
    assert [line["event"]["action"] for line in result.lines if line.get("container_id") == container.id] == [
        "create",
        "start",
    ]
