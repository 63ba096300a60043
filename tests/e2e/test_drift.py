"""Redis is changed by hand: the reconciler or the projector finds it, names it, counts it and has it put right."""

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from harness import bus, http
from harness.churn import Churn
from harness.engine import STUBBORN
from harness.stack import BRISK, Stack
from harness.state import FIELDS, differences
from harness.store import assert_equals_record, index_differences
from harness.wait import eventually, promised

# Right again within two intervals, plus the time to ship what differs.
INTERVAL = 1.0
BOUND = 2 * INTERVAL + 1
SERVICE = "shop/web"
LABELS = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web", "tier": "front"}
STRANGER = "f0" * 32
OUTSIDER = "e0" * 32


@pytest.fixture(scope="module")
def watched(tmp_path_factory, engine, binary):
    """An installation with a reconciler, and two containers: one that runs, one that ended."""
    yield from installation(tmp_path_factory, engine, INTERVAL)


@pytest.fixture(scope="module")
def unwatched(tmp_path_factory, engine, binary):
    """The same, whose reconciler looks once, at the start: the projector is first to see what it can see."""
    yield from installation(tmp_path_factory, engine, 3600)


def installation(tmp_path_factory, engine, interval: float):
    stack = Stack(tmp_path_factory.mktemp("stack"), engine, settings=BRISK)
    stack.roles.append(stack.make_reconciler("reconciler", "--interval", f"{interval:g}s"))
    try:
        stack.start()
        engine.run(STUBBORN, name=f"running-{engine.run_id}-{interval:g}", labels=LABELS)
        engine.run(["sh", "-c", "exit 3"], name=f"ended-{engine.run_id}-{interval:g}").wait()
        stack.wait_settled()
        yield stack
    finally:
        engine.remove_all()
        stack.stop()


@pytest.fixture(scope="module")
def took():
    """How many seconds each damage stood: half of them are put right within the bound, whatever slows down some."""
    seconds: list[float] = []
    yield seconds
    # Some few may all be slow.
    if len(seconds) >= 10:
        median = statistics.median(seconds)
        assert median <= BOUND, f"{median:.2f} s is the median of {[f'{each:.1f}' for each in sorted(seconds)]}"


def drifts(stack: Stack) -> dict[str, float]:
    """Drifts by kind, as those who find them count them."""
    prefix = "deckwatch_drifts_total"
    found = Counter()
    for role in stack.roles:
        if role.process.running and role.process.name.startswith(("reconciler", "projector")):
            samples = http.samples(role.port)
            found.update({name.removeprefix(prefix): count for name, count in samples.items() if name.startswith(prefix)})
    return dict(found)


class Hand:
    """Somebody who writes into Redis."""

    def __init__(self, stack: Stack):
        self.stack, self.redis = stack, stack.store.client
        states = stack.store.states()
        self.running = next(id for id, state in states.items() if state["status"] == "running")
        self.ended = next(id for id, state in states.items() if state["status"] == "exited")

    def key(self, name: str) -> str:
        return self.stack.store.key(name)

    def container(self, container_id: str) -> str:
        return self.key(f"container:{container_id}")

    def invented(self) -> dict[str, str]:
        return self.redis.hgetall(self.container(self.running)) | {"id": STRANGER, "name": "invented"}

    def everything(self) -> dict[str, bytes]:
        """All that the node's and the shared keys hold, but for what signs of life change."""
        keys = [key for key in self.stack.store.keys("deckwatch:*") if "partition" not in key]
        return {key: self.redis.execute_command("DUMP", key, **{"NEVER_DECODE": True}) for key in keys}

    def node(self, **fields: str) -> None:
        self.redis.hset(self.key("node"), mapping=fields)

    def set(self, **fields: str) -> None:
        self.redis.hset(self.container(self.running), mapping=fields)


def edits_service(hand: Hand) -> None:
    fields = hand.redis.hgetall(f"deckwatch:service:{SERVICE}")
    own = json.loads(fields["node:n1"]) | {"running": 9}
    hand.redis.hset(f"deckwatch:service:{SERVICE}", mapping={"node:n1": json.dumps(own)})


def invents_indexed(hand: Hand) -> None:
    hand.redis.hset(hand.container(STRANGER), mapping=hand.invented())
    for name in ("containers", "status:running", f"service:{SERVICE}"):
        hand.redis.sadd(hand.key(name), STRANGER)
    hand.redis.sadd(f"deckwatch:id:{STRANGER}", "n1")


def none(_: Hand) -> None:
    """The node itself."""


def running(hand: Hand) -> str:
    return hand.running


def ended(hand: Hand) -> str:
    return hand.ended


def stranger(_: Hand) -> str:
    return STRANGER


def outsider(_: Hand) -> str:
    return OUTSIDER


@dataclass
class Damage:
    """What a hand does, and what must be named for it: of which container, a field where there is one, and the kind."""

    do: Callable[[Hand], object]
    about: Callable[[Hand], str | None]
    field: str | None = None
    kind: str = "edited_store"
    # Other kinds that may be named for it.
    besides: frozenset[str] = frozenset()


EDITED = frozenset({"edited_store"})
DAMAGE = {
    "the node's status": Damage(lambda hand: hand.node(status="lost"), none, "status"),
    "the node's engine": Damage(lambda hand: hand.node(engine_id="other", os="plan9"), none, "engine_id"),
    "the node's epoch": Damage(lambda hand: hand.node(epoch="99"), none, "epoch"),
    "status": Damage(lambda hand: hand.set(status="paused"), running, "status"),
    "unknown": Damage(lambda hand: hand.set(status="unknown"), running, "status"),
    "name": Damage(lambda hand: hand.set(name="other"), running, "name"),
    "labels": Damage(lambda hand: hand.set(labels='{"tier": "back"}'), running, "labels"),
    "service": Damage(lambda hand: hand.set(service="db"), running, "service"),
    "garbage": Damage(lambda hand: hand.set(restart_count="many"), running, "restart_count"),
    "its id": Damage(lambda hand: hand.set(id=STRANGER), running, kind="absent", besides=EDITED | {"ghost"}),
    "as_of": Damage(lambda hand: hand.set(as_of="99999999"), running, "as_of"),
    "seq": Damage(lambda hand: hand.set(seq="1"), running, "seq"),
    "observed_at": Damage(lambda hand: hand.set(observed_at="2020-01-01T00:00:00.000000000Z"), running, "observed_at"),
    "field deleted": Damage(lambda hand: hand.redis.hdel(hand.container(hand.ended), "exit_code"), ended, "exit_code"),
    "hash deleted": Damage(
        lambda hand: hand.redis.delete(hand.container(hand.running)), running, kind="absent", besides=EDITED
    ),
    "hash of another type": Damage(
        lambda hand: hand.redis.delete(hand.container(hand.ended)) and hand.redis.set(hand.container(hand.ended), "x"),
        ended,
        kind="absent",
        besides=EDITED,
    ),
    "containers deleted": Damage(
        lambda hand: hand.redis.delete(hand.key("containers")), running, kind="absent", besides=EDITED
    ),
    "member of containers removed": Damage(
        lambda hand: hand.redis.srem(hand.key("containers"), hand.running),
        running,
        kind="absent",
        besides=EDITED,
    ),
    "member of a status removed": Damage(
        lambda hand: hand.redis.srem(hand.key("status:running"), hand.running), running, "status:running"
    ),
    "member of a status added": Damage(
        lambda hand: hand.redis.sadd(hand.key("status:paused"), STRANGER, "nonsense"), stranger, "status:paused"
    ),
    "member of a service removed": Damage(
        lambda hand: hand.redis.srem(hand.key(f"service:{SERVICE}"), hand.running), running, f"service:{SERVICE}"
    ),
    "a service invented on the node": Damage(
        lambda hand: hand.redis.sadd(hand.key("service:no/such"), hand.running), none, "service:no/such"
    ),
    "totals edited": Damage(
        lambda hand: hand.redis.hset(f"deckwatch:service:{SERVICE}", "running", "7"), none, f"service:{SERVICE}"
    ),
    "share edited": Damage(edits_service, none, f"service:{SERVICE}"),
    "totals deleted": Damage(
        lambda hand: hand.redis.delete(f"deckwatch:service:{SERVICE}"), none, f"service:{SERVICE}"
    ),
    "services deleted": Damage(lambda hand: hand.redis.delete("deckwatch:services"), none, f"service:{SERVICE}"),
    "a service invented": Damage(
        lambda hand: hand.redis.sadd("deckwatch:services", "no/such"), none, "service:no/such"
    ),
    "totals invented": Damage(
        lambda hand: hand.redis.hset("deckwatch:service:no/such", mapping={"containers": 1, "node:n1": '{"containers":1}'}),
        none,
        "service:no/such",
    ),
    "nodes of an id deleted": Damage(lambda hand: hand.redis.delete(f"deckwatch:id:{hand.running}"), running, "id"),
    "another node of an id": Damage(lambda hand: hand.redis.sadd(f"deckwatch:id:{STRANGER}", "n1"), stranger, "id"),
    "nodes deleted": Damage(lambda hand: hand.redis.delete("deckwatch:nodes"), none, "nodes"),
    "a node invented": Damage(lambda hand: hand.redis.sadd("deckwatch:nodes", "ghost"), none, "nodes:ghost"),
    "the node's hash deleted": Damage(lambda hand: hand.redis.delete(hand.key("node")), none, "node"),
    "the checkpoint deleted": Damage(lambda hand: hand.redis.delete(hand.key("checkpoint")), none, "checkpoint"),
    "the checkpoint set back": Damage(
        lambda hand: hand.redis.hset(hand.key("checkpoint"), "sequence", 1), none, "checkpoint"
    ),
    "all of the node's keys deleted": Damage(
        lambda hand: hand.redis.delete(*hand.stack.store.keys(hand.key("*"))), none, "checkpoint"
    ),
    "the node's counts": Damage(lambda hand: hand.redis.hset(hand.key("node"), "running", "70"), none, "running"),
    "a container invented": Damage(invents_indexed, stranger, kind="ghost", besides=EDITED),
    "a container invented outside of all indexes": Damage(
        lambda hand: hand.redis.hset(hand.container(OUTSIDER), mapping=hand.invented() | {"id": OUTSIDER}),
        outsider,
        kind="ghost",
    ),
    # What no projector writes.
    "a service of another form": Damage(
        lambda hand: hand.redis.sadd("deckwatch:services", "nosuch"), none, "service:nosuch"
    ),
    "a node's service of another form": Damage(
        lambda hand: hand.redis.sadd(hand.key("service:x"), hand.running), none, "service:x"
    ),
    "nodes of an id of another type": Damage(
        lambda hand: hand.redis.set(f"deckwatch:id:{STRANGER}", "x"), stranger, "id"
    ),
    "services of another type": Damage(
        lambda hand: hand.redis.delete("deckwatch:services") and hand.redis.set("deckwatch:services", "x"),
        none,
        f"service:{SERVICE}",
    ),
    "totals that nobody shares": Damage(
        lambda hand: hand.redis.hset("deckwatch:service:no/such", "containers", 5), none, "service:no/such"
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_change_by_hand_is_put_right_and_named(watched, took, what):
    assert_put_right_and_named(watched, what, took)


# What the projector looks at itself each heartbeat.
OF_THE_PROJECTOR = [
    "nodes deleted",
    "a node invented",
    "the node's hash deleted",
    "the checkpoint deleted",
    "the checkpoint set back",
    "all of the node's keys deleted",
]


@pytest.mark.parametrize("what", OF_THE_PROJECTOR)
@pytest.mark.parametrize("installation", ["watched", "unwatched"])
def test_what_the_projector_puts_right_is_named_once(request, took, installation, what):
    stack = request.getfixturevalue(installation)
    counted, named = drifts(stack), len(stack.corrections())
    assert_put_right_and_named(stack, what, took)
    assert_named_once(stack, counted, named, DAMAGE[what].field)


def assert_put_right_and_named(stack: Stack, what: str, took: list[float]) -> None:
    damage = DAMAGE[what]
    counted, named = drifts(stack), len(stack.corrections())
    hand = Hand(stack)
    before, about = hand.everything(), damage.about(hand)
    began = time.monotonic()
    damage.do(hand)
    assert hand.everything() != before, "nothing was changed"

    def right() -> list[dict]:
        stack.equal()
        assert_equals_record(stack.store, stack.entries())
        found = stack.corrections()[named:]
        named_for = [item for item in found if (item["drift"], item.get("container_id")) == (damage.kind, about)]
        assert any(damage.field is None or damage.field in item["fields"] for item in named_for), found
        return found

    found = promised(right, BOUND, "Redis is right again, and it is said", began)
    took.append(time.monotonic() - began)
    assert {item["drift"] for item in found} <= damage.besides | {damage.kind}, found
    assert_counted_as_named(stack, counted, named)


def assert_counted_as_named(stack: Stack, counted: dict[str, float], named: int) -> None:
    """It is counted first, and stands in the record a moment later."""

    def agree() -> bool:
        more = Counter(drifts(stack))
        more.subtract(counted)
        by_kind = Counter(f'{{kind="{item["drift"]}"}}' for item in stack.corrections()[named:])
        assert {kind: count for kind, count in more.items() if count} == by_kind
        return True

    eventually(agree, 10, "what is counted is what is named")


def assert_named_once(stack: Stack, counted: dict[str, float], named: int, field: str) -> None:
    # Time for both to find what is left to find.
    time.sleep(3 * INTERVAL)
    found = stack.corrections()[named:]
    assert [item["drift"] for item in found] == ["edited_store"] and field in found[0]["fields"], found
    assert_counted_as_named(stack, counted, named)


def test_a_flush_is_named_once(watched):
    stack = watched
    stack.wait_settled()
    counted, named = drifts(stack), len(stack.corrections())
    stack.store.client.flushall()
    promised(lambda: stack.equal() and stack.corrections()[named:], BOUND, "Redis is right again, and it is said")
    assert_named_once(stack, counted, named, "checkpoint")


def looks(stack: Stack) -> int:
    """How often the producer was asked for a snapshot."""
    return bus.requests_answered(stack.nats.url, f"deckwatch-{stack.node}", "snapshot")


def test_what_is_under_way_is_no_drift(watched, engine):
    """Under load every message is under way at some look: none of it is taken for a drift.

    But for events that a loaded engine tells seconds after it shows what happened: those the producer judges.
    """
    stack = watched

    def of_the_store() -> list[dict]:
        return [item for item in stack.corrections() if item["drift"] != "missed_event"]

    missed = '{kind="missed_event"}'
    counted, named = drifts(stack), of_the_store()
    with Churn(engine) as churn:
        churn.keep_on(10)
    stack.wait_settled()
    assert drifts(stack) | {missed: 0} == counted | {missed: 0} and of_the_store() == named


def test_a_lost_node_is_compared_with_its_record(watched, engine):
    """Nobody can ask its engine: what its last records say is what Redis holds, as last known."""
    stack = watched
    stack.producer.kill()
    try:
        eventually(lambda: stack.store.node_fields()["status"] == "lost", 60, "the node is lost")
        told = stack.store.states()
        counted = drifts(stack)
        running = next(id for id, state in told.items() if state["last_status"] == "running")
        ended, *_ = [id for id, state in told.items() if state["last_status"] == "exited"]
        hand = stack.store.client
        hand.hset(stack.store.key(f"container:{running}"), mapping={"image": "other", "last_status": "paused"})
        hand.delete(stack.store.key(f"container:{ended}"))
        ghost = {**hand.hgetall(stack.store.key(f"container:{running}")), "id": STRANGER}
        hand.hset(stack.store.key(f"container:{STRANGER}"), mapping=ghost)
        hand.sadd(stack.store.key("containers"), STRANGER)
        hand.hset(stack.store.key("node"), mapping={"status": "alive", "engine_version": "0"})
        # No index names this one.
        hand.hset(stack.store.key(f"container:{OUTSIDER}"), mapping=ghost | {"id": OUTSIDER})

        def right() -> bool:
            states = stack.store.states()
            node = stack.store.node_fields()
            assert node["status"] == "lost" and node["engine_version"] != "0", node
            assert states.keys() == told.keys()
            fields = [name for name in FIELDS if name != "status_since"]
            found = [text for id in told for text in differences(states[id], told[id], fields)]
            assert not found, found
            # What a rebuild needs stays until the node is back.
            wrong = [text for text in index_differences(stack.store, states) if not text.endswith((":since", ":stated"))]
            assert not wrong, wrong
            return True

        promised(right, BOUND, "the lost node is as it was")
        more = {kind for kind, count in drifts(stack).items() if count > counted.get(kind, 0)}
        assert {'{kind="edited_store"}', '{kind="absent"}', '{kind="ghost"}'} <= more
    finally:
        stack.producer.start()
    stack.wait_settled(within=30)
    # What could not be said while nobody listened is said now.

    def named() -> bool:
        ghosts = {item.get("container_id") for item in stack.corrections() if item["drift"] == "ghost"}
        return {STRANGER, OUTSIDER} <= ghosts

    eventually(named, 20, "`gaps` names them")


def test_a_start_and_a_takeover_are_no_drift(tmp_path_factory, engine, binary):
    stack = Stack(tmp_path_factory.mktemp("stack"), engine, settings=BRISK)
    second = stack.make_projector("projector 2")
    # The record is there before the projectors are.
    stack.roles = [stack.sequencer, stack.producer, stack.projector, second]
    stack.roles.append(stack.make_reconciler("reconciler", "--interval", f"{INTERVAL:g}s"))
    made = [engine.run(STUBBORN, labels=LABELS)]
    try:
        stack.start()
        for role in (stack.projector, second):
            role.kill()
            made.append(engine.run(STUBBORN, labels=LABELS))
            stack.wait_equal(30)
            assert drifts(stack) == {}
            role.start()
            role.wait_ready()
        time.sleep(2 * INTERVAL)
        assert drifts(stack) == {} and stack.corrections() == []
    finally:
        for container in made:
            container.remove(force=True)
        stack.stop()
