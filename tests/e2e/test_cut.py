"""NATS loses the last that it stored and goes on: what was seen of that is not what stands there now, and is refused."""

from harness import bus
from harness.engine import STUBBORN
from harness.wait import eventually

STATE = "DECKWATCH_STATE_0"


def test_a_node_that_was_further_on(brisk_stack, containers, tmp_path):
    """The record at the partition's place is the one that was seen; what was listed of the node after it is not."""
    stack = brisk_stack
    stack.wait_settled()
    stack.nats.kill()
    stack.nats.save(tmp_path / "saved")
    stack.nats.start()

    survives = stack.entries()[-1]
    goes = containers.run(STUBBORN)
    stack.wait_settled()
    # As any client lists: what is known of the partition, then the node's keys with their own place.
    place = f"{survives.sequence}.{survives.record.writer:016x}"
    checkpoint = stack.redis.client().hgetall(stack.store.key("checkpoint"))
    further = f"{checkpoint['sequence']}.{checkpoint['writer']}"
    assert int(checkpoint["sequence"]) > survives.sequence and checkpoint["writer"] not in place
    revision = f"0:{place}+{stack.node}={further}"

    watching = stack.ask_process("watch-before", "watch", "--from", revision, "-o", "json", "--count", "1")
    later = containers.run(STUBBORN)
    assert watching.wait(20) == 0 and later.id in watching.stdout.read_text(), watching.tail()

    stack.nats.kill()
    stack.nats.restore(tmp_path / "saved")
    goes.remove(force=True)
    stack.nats.start()
    seen = int(checkpoint["sequence"])
    eventually(lambda: bus.stream_end(stack.nats.url, STATE) > seen, 40, "the stream has grown again")
    kept = {entry.sequence: entry.record.writer for entry in stack.entries()}
    assert f"{kept[survives.sequence]:016x}" in place and f"{kept[seen]:016x}" not in further

    assert stack.ask("watch", "--from", f"0:{place}", "--count", "1").code == 0
    refused = stack.ask("watch", "--from", revision, "--count", "1")
    assert (refused.code, refused.out) == (3, "") and f"0:{further}" in refused.err, refused
    stack.wait_settled(within=40)
    assert stack.store.state(later.id)["status"] == "running" and stack.store.state(goes.id) is None
