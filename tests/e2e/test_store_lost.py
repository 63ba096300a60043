"""Redis loses what it held, or holds what was true long ago, under a live projector: right again, and no step back.

It is named, once for the node.
"""

import time

import pytest
import redis

from harness import bus
from harness.churn import Churn
from harness.engine import OBEDIENT, STUBBORN
from harness.sampler import Sampler
from harness.stack import Stack
from harness.store import Store
from harness.wait import eventually, promised

SERVICE = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
# Two intervals of 5 s.
RIGHT_AGAIN = 10


def flush(client: redis.Redis) -> None:
    client.flushall()


def flush_functions_too(client: redis.Redis) -> None:
    client.flushall()
    client.function_flush()


def wait_right(stack: Stack, since: float, named: int) -> list[list[str]]:
    """As promised, and as is shown; the record tells of no loss, for nothing of it was lost.

    Answers which keys it names beyond the drifts that were `named` before.
    """
    promised(stack.equal, RIGHT_AGAIN, "Redis equals the engine", since)
    promised(lambda: len(stack.corrections()) > named, RIGHT_AGAIN, "it is said", since)
    _, story = stack.wait_settled()
    assert story.epochs == [1] and not story.stamp_gaps
    listed = stack.ask("ps", "-o", "json")
    assert listed.code == 0 and listed.err == "" and listed.json["revision"], listed
    found = stack.corrections()[named:]
    assert {item["drift"] for item in found} == {"edited_store"}, found
    return [item["fields"] for item in found]


@pytest.mark.parametrize("lose", [flush, flush_functions_too])
def test_flushed(stack, containers, lose):
    containers.run(STUBBORN, labels=SERVICE)
    containers.run(["sh", "-c", "exit 3"], labels=SERVICE).wait()
    stack.wait_settled()
    named = len(stack.corrections())
    lose(stack.store.client)
    assert wait_right(stack, time.monotonic(), named) == [["node", "checkpoint"]]


def test_flushed_again_and_again_under_load(stack, containers):
    named = len(stack.corrections())
    with Sampler(Store(stack.redis.client(), stack.node)) as sampler:
        with Churn(containers, threads=3) as churn:
            for _ in range(3):
                churn.keep_on(3)
                stack.store.client.flushall()
            flushed = time.monotonic()
        assert len(wait_right(stack, flushed, named)) <= 3
    assert not sampler.steps_back and sampler.samples, sampler.steps_back


@pytest.fixture(params=[False, True], ids=["alone", "doubted"])
def doubted(request, stack):
    """Whether a reconciler looks too; it is there while the test runs."""
    if not request.param:
        yield False
        return
    reconciler = stack.make_reconciler("reconciler", "--interval", "1s")
    stack.roles.append(reconciler)
    try:
        reconciler.start()
        reconciler.wait_ready()
        yield True
    finally:
        stack.roles.remove(reconciler)
        reconciler.stop()


def wait_doubted(stack: Stack) -> None:
    """The reconciler has looked once more, from beginning to end."""

    def looks() -> int:
        return bus.requests_answered(stack.nats.url, f"deckwatch-{stack.node}", "snapshot")

    before = looks()
    # The first answer may be to a look that had begun, the third is to one after the second was compared.
    eventually(lambda: looks() > before + 2, 30, "the reconciler has looked", every=0.2)


def test_restored_from_an_old_copy(stack, containers, tmp_path, doubted):
    ended, gone = containers.run(OBEDIENT, labels=SERVICE), containers.run(STUBBORN, labels=SERVICE)
    stack.wait_settled()
    # Asked to stop, so that its file is whole.
    stack.redis.process.stop()
    stack.redis.save(tmp_path / "old")
    stack.redis.start()

    ended.stop(timeout=20)
    gone.remove(force=True)
    new = containers.run(STUBBORN, labels=SERVICE)
    stack.wait_settled()
    named = len(stack.corrections())
    stack.redis.kill()
    stack.redis.restore(tmp_path / "old")
    stack.redis.start()
    restored = time.monotonic()
    assert wait_right(stack, restored, named) == [["checkpoint"]]
    if doubted:
        wait_doubted(stack)
        stack.wait_settled()
        assert len(stack.corrections()) == named + 1, "what is named once is put right"
    statuses = {container_id: state["status"] for container_id, state in stack.store.states().items()}
    assert (statuses[ended.id], statuses[new.id]) == ("exited", "running") and gone.id not in statuses


def test_flushed_while_a_node_is_lost(brisk_stack, containers):
    """Its record tells what was; nobody can tell what is."""
    stack = brisk_stack
    running = containers.run(STUBBORN, labels=SERVICE)
    ended = containers.run(["sh", "-c", "exit 3"])
    ended.wait()
    stack.wait_settled()
    stack.producer.kill()
    eventually(lambda: stack.store.node_fields()["status"] == "lost", 20, "the node is lost")
    named = len(stack.corrections())
    stack.store.client.flushall()

    def unknown() -> bool:
        assert stack.store.current() and stack.store.node_fields().get("status") == "lost", stack.store.node_fields()
        found = {each: (state["status"], state.get("last_status")) for each, state in stack.store.states().items()}
        assert found.get(running.id) == ("unknown", "running") and found.get(ended.id) == ("unknown", "exited"), found
        return True

    promised(unknown, RIGHT_AGAIN, "its containers are unknown")
    assert len(stack.corrections()) == named, "there is nobody to say it"
    stack.producer.start()
    stack.producer.wait_ready()
    stack.wait_settled(30)
    assert stack.store.state(running.id)["status"] == "running"
    eventually(lambda: len(stack.corrections()) > named, RIGHT_AGAIN, "what could not be said is said")
    assert [item["fields"] for item in stack.corrections()[named:]] == [["node", "checkpoint"]]
