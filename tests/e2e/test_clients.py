"""Clients in another language that know the contract and nothing else: nats-py with generated stubs, and redis-py."""

import re

from harness import bus, stream
from harness.churn import Churn
from harness.engine import OBEDIENT, STUBBORN
from harness.state import FIELDS, differences, from_redis
from harness.stream import Entry
from harness.wait import eventually


def test_a_subscription_to_one_node(stack, containers):
    """`deckwatch.state.*.<node>.>`, decoded with the stubs, tells a life in the order in which it is stored."""
    made = []

    def a_life():
        made.append(containers.run(OBEDIENT))
        made[0].stop(timeout=20)
        made[0].remove()

    def is_told(messages):
        return any(
            entry.about == made[0].id and entry.state["status"] == "removed"
            for entry in (Entry.of(0, message.subject, message.headers, message.data) for message in messages)
        )

    first = stack.entries()[-1].sequence + 1
    subject = f"deckwatch.state.*.{stack.node}.>"
    heard = bus.overhear(stack.nats.url, subject, a_life, is_told)
    stored = stack.entries(first=first)[: len(heard)]
    assert [(message.subject, message.data) for message in heard] == [
        (entry.subject, entry.payload) for entry in stored
    ]
    # A look may find something new before the event that tells of it: such a record has none.
    actions = [entry.action for entry in stored if entry.about == made[0].id and entry.action]
    assert actions[:3] == ["create", "start", "kill"] and actions[-1] == "destroy", actions
    assert {"die", "stop"} == set(actions[3:-1]), actions


def test_every_record_says_when_and_by_whom(stack, containers):
    containers.run(["true"]).wait()
    entries, _ = stack.wait_settled()
    writers = {entry.record.writer for entry in entries}
    assert len(writers) == 1 and 0 not in writers, "one life of the sequencer, one writer"
    for entry in entries:
        assert entry.record.recorded_at.seconds > 0
        if entry.record.epoch:
            assert entry.record.observed_at.seconds > 0, entry.subject
        if entry.kind == "event":
            assert entry.action and entry.record.container_id == entry.about, entry.subject


def test_a_statement_names_every_container(stack, containers):
    """The first words of a node: hello, then the statement, closed by a list with every id."""
    words = [entry for entry in stack.entries() if entry.about == "node"]
    kinds = [entry.kind.removeprefix("node_change.") for entry in words]
    assert kinds[:3] == ["hello", "stating", "listed"], kinds
    hello = words[0].record.node_change.hello
    assert hello.engine.id == containers.client.info()["ID"] and not hello.stand_in
    assert words[2].record.node_change.listed.complete


def test_redis_by_the_contract(stack, containers):
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
    containers.run(STUBBORN, labels=labels)
    containers.run(["sh", "-c", "exit 3"], labels=labels).wait()
    containers.create(STUBBORN)
    stack.wait_settled()
    client, node = stack.redis.client(), stack.node

    meta = client.hgetall("deckwatch:meta")
    assert (meta["schema"], meta["partitions"]) == ("1", "1")
    info, version = containers.client.info(), containers.client.version()
    fields = stack.store.node_fields()
    expected = {
        "name": node,
        "engine_id": info["ID"],
        "engine_version": version["Version"],
        "os": version["Os"],
        "arch": version["Arch"],
        "status": "alive",
        "epoch": "1",
        "partition": "0",
    }
    assert {name: fields.get(name) for name in expected} == expected
    for time in ("status_since", "last_beat_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", fields[time]), fields
    assert "reason" not in fields
    partition = client.hgetall("deckwatch:partition:0")
    assert int(partition["sequence"]) > 0 and re.fullmatch("[0-9a-f]{16}", partition["writer"])
    assert 0 < client.ttl("deckwatch:partition:0") <= 15
    checkpoint = client.hgetall(stack.store.key("checkpoint"))
    assert checkpoint["partition"] == "0" and "rebuilding" not in checkpoint
    totals = client.hgetall("deckwatch:service:shop/web")
    counts = {name: totals.get(name) for name in ("containers", "running", "unhealthy", "failed", "nodes")}
    assert counts == {"containers": "2", "running": "1", "unhealthy": "0", "failed": "1", "nodes": "1"}


def test_read_in_one_call(stack, containers):
    """`FCALL_RO deckwatch_v1_read`: the checkpoint, the node and its containers, as the keys have them."""
    containers.run(STUBBORN, labels={"one": "two"})
    stack.wait_settled()

    def same():
        answer = stack.store.read()
        assert set(answer) == {"checkpoint", "node", "containers"}
        assert answer["checkpoint"] == stack.redis.client().hgetall(stack.store.key("checkpoint"))
        assert answer["node"] == stack.store.node_fields()
        assert listed(answer) == stack.store.states()
        return True

    eventually(same, 10, "one call reads what the keys hold")


def listed(answer: dict) -> dict[str, dict]:
    """The containers of an answer, by id. An empty Lua table is an object and an array at once."""
    rows = answer["containers"]
    rows = rows.values() if isinstance(rows, dict) else rows
    return {row["id"]: from_redis(row) for row in rows}


def test_list_then_watch(stack, containers):
    """Promise 10, by hand: what is listed in the middle of a storm and what is watched from there on is everything."""
    client = stack.redis.client()
    with Churn(containers) as churn:
        churn.keep_on(4)
        partition = client.hgetall("deckwatch:partition:0")
        answer = stack.store.read()
        churn.keep_on(4)
    entries, _ = stack.wait_settled()

    at = next(entry for entry in entries if entry.sequence == int(partition["sequence"]))
    assert f"{at.record.writer:016x}" == partition["writer"]
    picture = listed(answer)
    for entry in stream.read(stack.nats.url, first=int(partition["sequence"]) + 1):
        if entry.sequence <= int(answer["checkpoint"]["sequence"]) or not entry.record.HasField("container"):
            continue
        state = entry.state
        if state["status"] == "removed":
            picture.pop(entry.about, None)
        else:
            picture[entry.about] = state
    stored = stack.store.states()
    assert picture.keys() == stored.keys()
    for container_id, state in picture.items():
        assert not differences(state, stored[container_id], FIELDS)


def test_environment_variables_never_leave_the_host(stack, containers):
    secret = f"secret-{containers.run_id}-never-leaves"
    containers.run(STUBBORN, environment={"PASSWORD": secret})
    entries, _ = stack.wait_settled()
    needle = secret.encode()
    raw = stream.read_payloads(stack.nats.url, "DECKWATCH_RAW")
    assert raw, "nothing in the stream of observations"
    assert not any(needle in payload for payload in raw)
    assert not any(needle in entry.payload for entry in entries)
    for state in stack.store.states().values():
        assert secret not in str(state)
    for file in stack.folder.rglob("*"):
        assert not file.is_file() or needle not in file.read_bytes(), f"{file} holds it"
