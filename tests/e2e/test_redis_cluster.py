"""Redis Cluster: keys on every master, slots that move, masters that end."""

import pytest
from redis.exceptions import AskError, TryAgainError

from harness.churn import Churn
from harness.engine import STUBBORN
from harness.servers import RedisServer
from harness.shards import Cluster
from harness.stack import BRISK, Stack
from harness.wait import eventually

SERVICE = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
# Until the cluster has agreed on another master, and some.
FAILOVER = 40


@pytest.fixture(scope="module")
def clustered(tmp_path_factory, engine, binary):
    folder = tmp_path_factory.mktemp("clustered")
    stack = Stack(folder, engine, settings=BRISK, redis=Cluster(folder).start())
    stack.roles.append(stack.make_reconciler("reconciler", "--interval", "1s"))
    try:
        yield stack.start()
    finally:
        stack.stop()


def wait_right(stack: Stack) -> None:
    stack.wait_settled(FAILOVER)
    eventually(lambda: all(role.ready for role in stack.roles), FAILOVER, "every role is ready")
    listed = stack.ask("ps", "-o", "json")
    assert listed.code == 0 and listed.err == "" and listed.json["revision"], listed
    assert stack.ask("verify").code == 0


def assert_refuses_to_read(server: RedisServer, key: str, asking: bool) -> None:
    with server.client() as client:
        pipeline = client.pipeline(transaction=False)
        if asking:
            pipeline.execute_command("ASKING")
        pipeline.execute_command("FCALL_RO", "deckwatch_v1_read", 1, key)
        *_, answer = pipeline.execute(raise_on_error=False)
        assert isinstance(answer, (TryAgainError, AskError)), answer


def test_every_command_reads_every_master(clustered, containers):
    redis = clustered.redis
    made = [containers.run(STUBBORN, labels=SERVICE) for _ in range(4)]
    wait_right(clustered)
    owners = {redis.owner(f"deckwatch:id:{each.id}").port for each in made} | {redis.owner("deckwatch:nodes").port}
    assert len(owners) > 1, "by chance all keys are on one master"
    for command in (["nodes"], ["services"], ["inspect", made[0].id], ["history", made[0].id]):
        answer = clustered.ask(*command, "-o", "json")
        assert answer.code == 0 and answer.err == "", answer
    checks = clustered.ask("doctor", "-o", "json", "--engine", clustered.engine.address).json["items"]
    found = {check["check"]: check for check in checks if check["check"].startswith("redis") or check["check"] == "picture"}
    assert {check["result"] for check in found.values()} == {"ok"}, found
    assert "3 masters" in found["redis"]["detail"]
    refused = clustered.ask("bench")
    assert refused.code == 2 and "cluster" in refused.err, refused


def test_a_key_that_nobody_explains_is_found_on_each_master(clustered):
    redis = clustered.redis
    strays = {}
    for number in range(100):
        stray = f"deckwatch:id:{number:064x}"
        strays.setdefault(redis.owner(stray).port, stray)
    assert len(strays) == 3
    for stray in strays.values():
        clustered.store.client.sadd(stray, clustered.node)

    def gone() -> bool:
        left = [stray for stray in strays.values() if clustered.store.client.exists(stray)]
        assert not left, left
        return True

    eventually(gone, 30, "strays are gone", every=0.2)
    wait_right(clustered)


def test_a_master_is_killed_under_load_and_comes_back(clustered, containers):
    redis = clustered.redis
    containers.run(STUBBORN, labels=SERVICE)
    wait_right(clustered)
    named = len(clustered.corrections())
    key = clustered.store.key("node")
    old = redis.owner(key)
    with Churn(containers, threads=2, pause=0.1):
        old.kill()
        eventually(lambda: redis.owner(key) is not old, FAILOVER, "a replica took over", every=0.2)
        old.start()
    redis.wait_whole()
    assert redis.owner(key) is not old
    wait_right(clustered)
    # What the replica had not got yet is all that was wrong.
    assert {item["drift"] for item in clustered.corrections()[named:]} <= {"edited_store"}
    _, story = clustered.wait_settled()
    assert story.epochs == [1] and not story.stamp_gaps


def test_a_slot_moves_to_a_new_server_under_load(clustered, containers):
    redis = clustered.redis
    containers.run(STUBBORN, labels=SERVICE)
    wait_right(clustered)
    named = len(clustered.corrections())
    target = redis.add()
    key = clustered.store.key("node")
    slot, source = redis.slot(key), redis.owner(key)
    with Churn(containers, threads=2, pause=0.1) as churn:
        redis.begin_move(slot, source, target)
        assert redis.move_keys(slot, source, target, 5) == 5
        # Half of it is here, half there: nothing may be concluded from either. The library sees to it.
        for server, asking in ((source, False), (target, True)):
            assert_refuses_to_read(server, key, asking)
        # redis-cli gave it the others' functions; whoever adds a server by other means may not.
        target.client().function_flush()
        churn.keep_on(1.5)
        redis.end_move(slot, source, target)
        assert redis.owner(key) is target
        # A client scans the servers that it knows.
        clustered.store.client = redis.client()
        churn.keep_on(1)
    wait_right(clustered)
    assert clustered.corrections()[named:] == []
    _, story = clustered.wait_settled()
    assert story.epochs == [1] and not story.stamp_gaps
