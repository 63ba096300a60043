"""A Redis that sentinels watch: whoever they call the master is written to, and nobody else."""

import time

import pytest

from harness.churn import Churn
from harness.engine import OBEDIENT, STUBBORN
from harness.servers import RedisServer
from harness.shards import Watched
from harness.stack import BRISK, Stack
from harness.wait import eventually

SERVICE = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
# Until the sentinels have agreed on another master, and some.
FAILOVER = 40


@pytest.fixture(scope="module")
def watched(tmp_path_factory, engine, binary):
    folder = tmp_path_factory.mktemp("watched")
    stack = Stack(folder, engine, settings=BRISK, redis=Watched(folder).start())
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


def replaced(redis: Watched, old: RedisServer) -> RedisServer:
    def other() -> RedisServer | None:
        master = redis.master()
        return master if master is not old and redis.role(master) == "master" else None

    return eventually(other, FAILOVER, "the sentinels name another master", every=0.2)


def written(server: RedisServer) -> int:
    """How often a function that writes was called since it started."""
    return server.client().info("commandstats").get("cmdstat_fcall", {"calls": 0})["calls"]


def wait_replica(redis: Watched, old: RedisServer) -> None:
    eventually(lambda: redis.role(old) == "slave" and redis.in_step(), FAILOVER, "the old master is a replica", every=0.2)


def cut_off(replica: RedisServer, master: RedisServer) -> None:
    """It gets nothing more: what it says to the master is refused from now on."""
    replica.client().config_set("masterauth", "wrong")
    master.client().client_kill_filter(_type="replica")
    eventually(lambda: master.client().info("replication")["connected_slaves"] == 0, 20, "the replica is cut off")


def test_a_replica_that_lacks_the_last_writes_takes_over_and_the_master_comes_back(watched, containers):
    redis = watched.redis
    ended, gone = containers.run(OBEDIENT, labels=SERVICE), containers.run(STUBBORN, labels=SERVICE)
    watched.wait_settled()
    old = redis.master()
    new = next(server for server in redis.servers if server is not old)
    eventually(redis.in_step, 20, "the replica is in step")
    cut_off(new, old)
    ended.stop(timeout=20)
    gone.remove(force=True)
    made = containers.run(STUBBORN, labels=SERVICE)
    watched.wait_settled()
    named = len(watched.corrections())
    with Churn(containers, threads=2, pause=0.1):
        old.kill()
        assert replaced(redis, old) is new
        # It believes to be the master until a sentinel tells it otherwise. Who connects meanwhile must know better.
        old.start()
        new.client().client_kill_filter(_type="normal")
        wait_replica(redis, old)
        before = written(new)
        eventually(lambda: written(new) > before, 20, "the new master is written to")
        assert written(old) == 0
    wait_right(watched)
    statuses = {each: state["status"] for each, state in watched.store.states().items()}
    assert (statuses[ended.id], statuses[made.id]) == ("exited", "running") and gone.id not in statuses
    # That the store fell back is said, and that it did is all that was wrong.
    found = watched.corrections()[named:]
    assert [(item["drift"], item["fields"]) for item in found] == [("edited_store", ["checkpoint"])], found
    _, story = watched.wait_settled()
    assert story.epochs == [1] and not story.stamp_gaps


def test_the_sentinels_are_away(watched):
    """Who has a connection goes on; who has none says so."""
    redis = watched.redis
    for sentinel in redis.sentinels:
        sentinel.kill()
    began = time.monotonic()
    asked = watched.ask("ps")
    assert asked.code == 3 and redis.url in asked.err, asked
    assert time.monotonic() - began < 10
    assert watched.projector.ready
    for sentinel in redis.sentinels:
        sentinel.start()
    eventually(lambda: watched.ask("ps").code == 0, 20, "the sentinels answer again", every=0.2)
