"""NATS loses its data, all of it or one stream: everything is right again without help, and what is lost is said."""

import signal
import time

import pytest

from harness import bus, http
from harness.engine import STUBBORN
from harness.order import Story
from harness.stack import Stack
from harness.stream import Entry
from harness.stubs import record_pb2
from harness.wait import eventually

RAW, STATE, DEAD = "DECKWATCH_RAW", "DECKWATCH_STATE_0", "DECKWATCH_DEAD"
NODES, LEASES = "KV_DECKWATCH_NODES", "KV_DECKWATCH_LEASES"


def right_again(stack: Stack, *living) -> tuple[list[Entry], Story]:
    """Nobody helps: state, order and revision are as they were never touched, and what happens now is told."""
    for role in stack.roles:
        role.wait_ready()
    later, *_ = living = [stack.engine.run(STUBBORN), *living]

    def told() -> bool:
        return any(entry.about == later.id for entry in stack.entries())

    eventually(told, 30, "what happens now is told")
    entries, story = stack.wait_settled(within=40)
    assert {container.id for container in living} <= stack.store.states().keys()
    listed = stack.ask("ps", "-o", "json")
    assert listed.code == 0 and listed.err == "" and listed.json["revision"], listed
    return entries, story


def assert_history_is_lost(stack: Stack, entries: list[Entry], story: Story) -> None:
    """The record begins with what nobody knows any more, and `gaps` says so."""
    (gap,) = story.stamp_gaps
    assert gap.sequence == entries[0].sequence and gap.stamp == "0.1-", f"{gap.stamp} at {gap.sequence}"
    assert gap.record.gap.reason == record_pb2.GAP_REASON_HISTORY and gap.record.gap.action
    assert len(story.epochs) == 1
    answer = stack.ask("gaps", "-o", "json")
    assert answer.code == 0, answer
    (item,) = [item for item in answer.json["items"] if item["type"] == "gap" and "from" in item["gap"]]
    said = (item["node"], item["gap"]["reason"], item["gap"]["epoch"], item["gap"]["from"])
    assert said == (stack.node, "history", 0, 1) and "to" not in item["gap"], item


def epoch(stack: Stack) -> int:
    return int(stack.store.node_fields()["epoch"])


def assert_refused(stack: Stack, revision: str) -> None:
    watched = stack.ask("watch", "--from", revision)
    assert watched.code == 3 and watched.out == "" and revision.split(".")[0] in watched.err, watched


def test_all_of_it(brisk_stack, containers):
    stack = brisk_stack
    stays, goes = containers.run(STUBBORN), containers.run(STUBBORN)
    stack.wait_settled()
    before, revision = epoch(stack), stack.ask("ps", "-o", "json").json["revision"]
    stack.nats.kill()
    stack.nats.wipe()
    goes.remove(force=True)
    stack.nats.start()
    entries, story = right_again(stack, stays)
    assert_history_is_lost(stack, entries, story)
    assert story.epochs[0] > before and stack.store.state(goes.id) is None
    assert_refused(stack, revision)


@pytest.fixture
def reconciler(brisk_stack):
    role = brisk_stack.make_reconciler("reconciler", "--interval", "1s")
    brisk_stack.roles.append(role)
    role.start()
    role.wait_ready()
    yield role
    brisk_stack.roles.remove(role)
    role.stop()


@pytest.mark.parametrize("told_before", [False, True])
def test_all_of_it_while_nobody_tells(brisk_stack, reconciler, containers, told_before):
    """The producer died with NATS, so no record ever said that its node is lost; or before it, and the record is gone.
    Nobody can tell of its containers: they stay, unknown and no drift, until their producer is back."""
    stack = brisk_stack
    stays, goes = containers.run(STUBBORN), containers.run(STUBBORN)
    stack.wait_settled()
    drifts = counted(reconciler)
    stack.producer.kill()
    if told_before:
        eventually(lambda: stack.store.node_fields()["status"] == "lost", 20, "the node is lost")
    stack.nats.kill()
    if not told_before:
        assert stack.store.node_fields()["status"] == "alive" and stack.store.state(stays.id)["status"] == "running"
    eventually(lambda: not listed(stack)["revision"], 20, "ps is not current")
    stack.nats.wipe()
    stack.nats.start()

    answers = []
    eventually(lambda: answers.append(listed(stack)) or answers[-1]["revision"], 30, "ps is current")
    # Three intervals of the reconciler.
    time.sleep(3)
    answers.append(listed(stack))
    for answer in answers[-2:]:
        (item,) = [item for item in answer["items"] if item["id"] == stays.id]
        assert answer["revision"] and (item["status"], item["last_status"]) == ("unknown", "running"), answer
    state = stack.store.state(stays.id)
    assert (state["status"], state["last_status"]) == ("unknown", "running"), state
    assert bus.stream_size(stack.nats.url, STATE) == 0, "somebody told of it"
    node = stack.store.node_fields()
    assert node["status"] == "lost" and "NATS lost its record" in node["reason"], node
    goes.remove(force=True)
    stack.projector.process.signal(signal.SIGSTOP)
    try:
        stack.producer.start()
        stack.producer.wait_ready()
        # Two intervals, in which the record is ahead of Redis.
        time.sleep(2)
    finally:
        stack.projector.process.signal(signal.SIGCONT)
    assert_history_is_lost(stack, *right_again(stack, stays))
    assert counted(reconciler) == drifts and stack.store.state(goes.id) is None


def test_who_did_not_come_back_is_forgotten(brisk_stack, containers):
    """Nobody but Redis tells of the node any more: `forget` takes it out of there, and its name is free."""
    stack = brisk_stack
    running = containers.run(STUBBORN)
    stack.wait_settled()
    stack.producer.kill()
    stack.nats.kill()
    try:
        eventually(lambda: not listed(stack)["revision"], 20, "ps is not current")
        stack.nats.wipe()
        stack.nats.start()
        eventually(lambda: listed(stack)["revision"], 30, "ps is current")
        assert stack.ask("forget", "another").code == 1
        result = stack.ask("forget", stack.node)
        assert result.code == 0 and "its name is free" in result.out, result
        assert listed(stack)["items"] == [] and stack.ask("nodes", "-o", "json").json["items"] == []
    finally:
        stack.producer.start()
    stack.wait_settled(within=30)
    assert stack.store.state(running.id)["status"] == "running"


def listed(stack: Stack) -> dict:
    return stack.ask("ps", "-o", "json").json


def counted(reconciler) -> dict[str, float]:
    samples = http.samples(reconciler.port).items()
    return {name: count for name, count in samples if name.startswith("deckwatch_drifts_total")}


@pytest.mark.parametrize("lose", [bus.delete_stream, bus.make_anew])
def test_the_record_is_deleted(brisk_stack, containers, lose):
    """While nothing happens: nobody writes, so nothing is refused; and no observation is left to begin with."""
    stack = brisk_stack
    stays = containers.run(STUBBORN)
    stack.wait_settled()
    # Each 10 s.
    eventually(lambda: bus.stream_size(stack.nats.url, RAW) == 0, 30, "what is in the record is purged")
    before, revision = epoch(stack), stack.ask("ps", "-o", "json").json["revision"]
    # A projector would ask producers for statements: the sequencer is to see it by itself.
    stack.projector.process.signal(signal.SIGSTOP)
    try:
        lose(stack.nats.url, STATE)
        eventually(lambda: bus.stream_exists(stack.nats.url, STATE), 20, "the stream is made anew")
        eventually(lambda: {entry.about for entry in stack.entries()} >= {stays.id}, 20, "the record tells all again")
    finally:
        stack.projector.process.signal(signal.SIGCONT)
    entries, story = right_again(stack, stays)
    assert_history_is_lost(stack, entries, story)
    assert story.epochs[0] > before
    assert_refused(stack, revision)


def test_observations_are_deleted(brisk_stack, containers):
    """Those that no sequencer has read yet: their producer has them still."""
    stack = brisk_stack
    stays = containers.run(STUBBORN)
    before, _ = stack.wait_settled()
    stack.sequencer.kill()
    unread = bus.stream_end(stack.nats.url, RAW)
    goes = containers.run(STUBBORN)
    goes.remove(force=True)
    # Both lives of it, and what came before: nothing of it is in the record.
    eventually(lambda: bus.stream_end(stack.nats.url, RAW) > unread + 2, 10, "they are stored")
    bus.delete_stream(stack.nats.url, RAW)
    stack.sequencer.start()
    entries, story = right_again(stack, stays)
    assert entries[: len(before)] == before
    assert "destroy" in [entry.action for entry in entries if entry.about == goes.id]
    assert not [gap for gap in story.stamp_gaps if gap.sequence > before[-1].sequence]


def test_claims_are_deleted(brisk_stack, containers):
    """The producer claims its name again, as a new life whose past is known: nothing is lost."""
    stack = brisk_stack
    stays = containers.run(STUBBORN)
    before, _ = stack.wait_settled()
    claimed = epoch(stack)
    bus.delete_stream(stack.nats.url, NODES)
    eventually(lambda: epoch(stack) == claimed + 1, 30, "the next epoch is claimed")
    entries, story = right_again(stack, stays)
    assert not [gap for gap in story.stamp_gaps if gap.sequence > before[-1].sequence]
    assert entries[: len(before)] == before


@pytest.mark.parametrize("stream", [LEASES, DEAD])
def test_what_holds_no_history_is_deleted(brisk_stack, containers, stream):
    stack = brisk_stack
    stays = containers.run(STUBBORN)
    before, _ = stack.wait_settled()
    lived = epoch(stack)
    bus.delete_stream(stack.nats.url, stream)
    eventually(lambda: bus.stream_exists(stack.nats.url, stream), 20, "it is made anew")
    entries, story = right_again(stack, stays)
    assert entries[: len(before)] == before and epoch(stack) == lived
    assert not [gap for gap in story.stamp_gaps if gap.sequence > before[-1].sequence]
    if stream == DEAD:
        bus.publish_acknowledged(stack.nats.url, f"deckwatch.raw.{stack.node}", b"\xff\xff not protobuf")
        eventually(lambda: bus.stream_size(stack.nats.url, DEAD) == 1, 20, "what cannot be read is put aside")
