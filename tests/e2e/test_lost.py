"""The producer's process is gone: what it said last reads `unknown`; it comes back, and the picture is right."""

from harness.engine import STUBBORN
from harness.state import FIELDS, differences
from harness.store import index_differences
from harness.wait import eventually


def test_lost_and_back(own_stack, containers):
    stack = own_stack
    running = containers.run(STUBBORN)
    ended = containers.run(["sh", "-c", "exit 3"])
    ended.wait()
    to_be_stopped = containers.run(STUBBORN)
    to_be_removed = containers.run(STUBBORN)
    stack.wait_settled()
    before, last = stack.store.states(), stack.entries()[-1].sequence

    stack.producer.kill()
    # Silent for 15 s, then lost.
    eventually(lambda: stack.store.node_fields()["status"] == "lost", 60, "the node is lost")
    assert stack.store.node_fields()["reason"]

    states = stack.store.states()
    assert states.keys() == before.keys()
    for container_id, state in states.items():
        assert (state["status"], state["last_status"]) == ("unknown", before[container_id]["status"])
        others = [name for name in FIELDS if name not in ("status", "last_status", "status_since")]
        assert not differences(state, before[container_id], others), "its other fields stay"
        assert state["status_since"] > before[container_id]["status_since"]
    assert not index_differences(stack.store, states)
    told = [entry for entry in stack.entries(first=last + 1) if entry.kind != "node_change.cursor"]
    assert [entry.kind for entry in told] == ["node_change.lost"], "the node's record says it for all"
    assert told[0].stamp is None and told[0].record.node_change.lost.reason

    listed = stack.ask("ps", "-o", "json")
    assert listed.code == 0 and {item["status"] for item in listed.json["items"]} == {"unknown"}
    (node,) = stack.ask("nodes", "-o", "json").json["items"]
    assert node["status"] == "lost" and node["reason"]
    table = stack.ask("ps").out
    assert "unknown" in table

    to_be_stopped.stop(timeout=0)
    to_be_removed.remove(force=True)
    new = containers.run(STUBBORN)
    stack.producer.start()
    entries, story = stack.wait_settled(within=30)
    assert story.epochs == [1, 2]
    statuses = {container_id: state["status"] for container_id, state in stack.store.states().items()}
    expected = {running.id: "running", ended.id: "exited", to_be_stopped.id: "exited", new.id: "running"}
    assert expected.items() <= statuses.items() and to_be_removed.id not in statuses
    assert stack.store.node_fields()["status"] == "alive" and "reason" not in stack.store.node_fields()

    after = [entry for entry in entries if entry.sequence > told[-1].sequence]
    kinds = [entry.kind for entry in after]
    assert "node_change.back" in kinds and kinds.index("node_change.back") < kinds.index("node_change.hello")
    removal = [entry for entry in after if entry.about == to_be_removed.id]
    assert removal and removal[-1].state["status"] == "removed"
