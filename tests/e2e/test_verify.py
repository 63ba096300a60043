"""`verify`: Redis compared with what the engines answer, by the program itself. No reconciler runs here."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from harness import bus
from harness.engine import STUBBORN
from harness.proxy import Proxy
from harness.wait import eventually

ASKS = 10  # seconds after which a question gives up
STARTS = 5  # seconds a loaded machine may add to start and end a program

SERVICE = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}


@pytest.fixture
def container(stack, containers):
    made = containers.run(STUBBORN, labels=SERVICE)
    stack.wait_settled()
    return made


@pytest.fixture
def client(stack, container):
    """Redis, for a test that breaks something in it while nothing happens: all keys are then as they were."""
    client = redis.Redis(port=stack.redis.port)
    before = {key: client.dump(key) for key in client.scan_iter("deckwatch:*") if b":partition:" not in key}
    yield stack.store.client
    for key in client.scan_iter("deckwatch:*"):
        if key not in before and b":partition:" not in key:
            client.delete(key)
    for key, value in before.items():
        client.restore(key, 0, value, replace=True)
    client.close()


def verified(stack, code: int, *flags: str) -> dict:
    result = stack.ask("verify", "-o", "json", *flags)
    assert result.code == code and result.seconds < ASKS + STARTS, result
    assert len(result.err.splitlines()) == (0 if code == 0 else 1), result
    return result.json


def differences(stack) -> set[tuple]:
    items = verified(stack, 1)["items"]
    assert all(item["node"] == stack.node for item in items)
    keys = ("container_id", "field", "redis", "engine")
    return {tuple(item.get(key) for key in keys) for item in items}


def test_a_right_picture(stack, container):
    count = len(stack.engine.states(stack.node))
    assert verified(stack, 0) == {"nodes": 1, "containers": count, "items": [], "unasked": []}
    result = stack.ask("verify", "--node", stack.node)
    assert (result.code, result.out, result.err) == (0, f"right: {count} containers on 1 nodes\n", ""), result


def test_an_edited_field(stack, container, client):
    key = stack.store.key(f"container:{container.id}")
    pid = client.hget(key, "pid")
    client.hset(key, "pid", "7")
    assert differences(stack) == {(container.id, "pid", "7", pid)}
    result = stack.ask("verify")
    assert result.code == 1 and len(result.err.splitlines()) == 1, result
    heading, row = result.out.splitlines()
    assert heading.split() == ["NODE", "CONTAINER", "ID", "NAME", "FIELD", "REDIS", "ENGINE"]
    assert row.split() == [stack.node, container.id[:12], container.name, "pid", "7", pid]


def test_a_field_that_holds_nonsense(stack, container, client):
    client.hset(stack.store.key(f"container:{container.id}"), "oom_killed", "perhaps")
    assert (container.id, "oom_killed", "perhaps", None) in differences(stack)


def test_a_deleted_hash(stack, container, client):
    client.delete(stack.store.key(f"container:{container.id}"))
    found = differences(stack)
    assert (container.id, "id", None, container.id) in found
    assert (container.id, "containers", "member", None) in found


def test_an_invented_container(stack, container, client):
    invented = "ab" * 32
    state = stack.store.fields(container.id) | {"id": invented, "name": "invented"}
    client.hset(stack.store.key(f"container:{invented}"), mapping=state)
    client.sadd(stack.store.key("containers"), invented)
    found = differences(stack)
    assert (invented, "id", invented, None) in found
    assert (invented, "status:running", None, "member") in found


def test_indexes(stack, container, client):
    client.srem(stack.store.key("status:running"), container.id)
    client.sadd(stack.store.key("status:exited"), container.id)
    client.srem(stack.store.key("service:shop/web"), container.id)
    client.srem("deckwatch:nodes", stack.node)
    assert differences(stack) == {
        (container.id, "status:running", None, "member"),
        (container.id, "status:exited", "member", None),
        (container.id, "service:shop/web", None, "member"),
        (None, "nodes", None, "member"),
    }


def test_what_a_node_counts(stack, container, client):
    count = stack.store.node_fields()["containers"]
    client.hset(stack.store.key("node"), "containers", "99")
    assert differences(stack) == {(None, "containers", "99", count)}


class Busy(Proxy):
    """Redis, where something happens each time before the keys of a node are read."""

    def __init__(self, path: Path, port: int, happens: Callable[[], None]):
        super().__init__(path, f"tcp://127.0.0.1:{port}")
        self._happens = happens

    def filter(self) -> "Busy":
        return self

    def request(self, data: bytes) -> bytes:
        if b"_examine" in data:
            self._happens()
        return data

    def answer(self, data: bytes) -> bytes:
        return data


def test_what_happens_meanwhile_is_no_difference(stack, containers, container, tmp_path):
    """Between a producer's answer and the look at Redis, which is newer then: three times something else differs."""
    goes, name = containers.run(STUBBORN), f"renamed-{containers.run_id}"
    stack.wait_settled()
    changes = [
        lambda: container.rename(name),
        lambda: goes.remove(force=True),
        lambda: containers.run(STUBBORN, labels=SERVICE),
    ]

    def happens() -> None:
        if changes:
            changes.pop(0)()
            stack.wait_equal()

    with Busy(tmp_path / "redis.sock", stack.redis.port, happens) as busy:
        verified(stack, 0, "--redis", busy.address)
    assert not changes, "it looked three times"


def test_what_is_on_its_way_to_redis_is_no_difference(stack, containers):
    """The projector stands still for two seconds: so long `verify` waits for what the producer has said."""
    stack.wait_settled()
    stack.projector.process.signal(signal.SIGSTOP)
    goes_on = threading.Timer(2, lambda: stack.projector.process.signal(signal.SIGCONT))
    try:
        made = containers.run(STUBBORN)
        eventually(lambda: len(stack.of_container(made)) == 2, 10, "its start is in the record")
        goes_on.start()
        assert stack.store.state(made.id) is None
        verified(stack, 0)
        assert stack.store.state(made.id)["status"] == "running"
    finally:
        goes_on.cancel()
        stack.projector.process.signal(signal.SIGCONT)


def test_nobody_to_ask(stack, container):
    """A producer that stands still, and then one that is gone and known to be."""
    running = stack.store.key("status:running")
    stack.producer.process.signal(signal.SIGSTOP)
    try:
        answer = verified(stack, 3)
        assert answer["items"] == [] and [each["node"] for each in answer["unasked"]] == [stack.node]
        # Where Redis differs from itself is found without it, and no later.
        stack.store.client.srem(running, container.id)
        answer = verified(stack, 1)
        assert [(each["container_id"], each["field"]) for each in answer["items"]] == [(container.id, "status:running")]
        assert [each["node"] for each in answer["unasked"]] == [stack.node]
    finally:
        stack.store.client.sadd(running, container.id)
        stack.producer.process.signal(signal.SIGCONT)
    stack.producer.kill()
    try:
        eventually(lambda: stack.store.node_fields()["status"] == "lost", 60, "the node is lost")
        (unasked,) = verified(stack, 3)["unasked"]
        assert unasked["node"] == stack.node and "lost since" in unasked["reason"], unasked
        # What nobody can ask reads `unknown`: that is compared all the same.
        key = stack.store.key(f"container:{container.id}")
        stack.store.client.hset(key, "status", "running")
        assert (container.id, "status", "running", "unknown") in differences(stack)
    finally:
        stack.producer.start()
        stack.producer.wait_ready()


def test_many_that_are_silent(stack, container):
    """Somebody listens for each of them, and none answers: they are silent at the same time."""
    silent = [f"silent-{number}" for number in range(20)]
    answers = []
    stack.store.client.sadd("deckwatch:nodes", *silent)
    try:
        bus.overhear(
            stack.nats.url, "deckwatch.rpc.>", lambda: answers.append(stack.ask("verify", "-o", "json")), lambda _: True
        )
    finally:
        stack.store.client.srem("deckwatch:nodes", *silent)
    (result,) = answers
    # That the projector may find strangers on its list meanwhile makes a difference.
    assert result.code in (1, 3) and result.seconds < ASKS + STARTS, result
    assert {each["node"] for each in result.json["unasked"]} == set(silent) and result.json["nodes"] == 1, result


def test_nothing_is_current(own_stack):
    """Who vouches for nothing is not asked: 3, even where all is equal."""
    own_stack.projector.kill()
    eventually(lambda: not own_stack.store.current(), 30, "nothing is current")
    result = own_stack.ask("verify")
    assert result.code == 3 and "current" in result.err and len(result.err.splitlines()) == 1, result
    own_stack.projector.start()
    own_stack.projector.wait_ready()


def test_a_node_that_nobody_knows(stack):
    result = stack.ask("verify", "--node", "another")
    assert result.code == 3 and "another" in result.err, result
