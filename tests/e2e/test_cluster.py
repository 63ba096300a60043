"""`deploy/compose.cluster.yaml` and `deploy/compose.node.yaml` as they are: right, and right again after each failover."""

import json

import pytest

from harness import stack as stacks
from harness.cluster import NATS, REDIS, ROLES, Cluster
from harness.engine import STUBBORN
from harness.order import Story
from harness.stream import assert_same_story
from harness.wait import eventually

# Eighteen containers, and failovers that take their time.
pytestmark = [pytest.mark.alone, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def engine(machine_engine):
    return machine_engine


@pytest.fixture(scope="module")
def cluster(engine, binary):
    cluster = Cluster(engine)
    stacks.alive.append(cluster)
    try:
        yield cluster.start()
    finally:
        stacks.alive.remove(cluster)
        cluster.stop()


@pytest.fixture
def change(cluster, containers):
    """Something new on the engine, which the picture must then show too."""
    return lambda: containers.run(STUBBORN)


def test_right_and_contained(cluster, change):
    change()
    cluster.wait_equal(60)
    _, story = cluster.record()
    assert not gaps(story)
    listed = json.loads(cluster.ask("ps", "--output", "json"))
    assert listed["revision"] is not None
    # The one that asks is a container too.
    assert {item["id"] for item in listed["items"]} >= set(cluster.engine.states(cluster.node))
    for service in [*NATS, *REDIS, *ROLES]:
        for container in cluster.servers.containers(service):
            host = container.attrs["HostConfig"]
            assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"], service
            assert container.attrs["Config"]["User"] == "65532:65532" and host["Memory"] and host["PidsLimit"], service
            published = [place for places in (host["PortBindings"] or {}).values() for place in places]
            assert len(published) == (service in NATS), service
    permitted = cluster.host.say("exec", "--no-TTY", "producer", "deckwatch", "doctor", "--for", "producer", "-o", "json")
    assert {item["result"] for item in json.loads(permitted)["items"]} == {"ok"}, permitted


def test_a_server_of_each_kind_killed(cluster, change):
    """While it is away, all goes on; when it is back, all is as before."""
    cluster.wait_equal(60)
    told, before = cluster.record()
    for number in (0, 1, 2):
        # Where the leaders are is NATS's own business: each server has been the one that went.
        gone = cluster.kill(NATS[number])
        change()
        cluster.wait_equal(60)
        cluster.back(gone)
    for role in ROLES:
        gone = cluster.kill(role)
        change()
        cluster.wait_equal(60)
        cluster.back(gone)
    master = cluster.master()
    gone = cluster.kill(master)
    change()
    cluster.wait_equal(90)
    assert cluster.master() != master
    cluster.back(gone)
    eventually(lambda: cluster.role(master) == "slave", 60, "the old master follows the new one")
    change()
    cluster.wait_equal(60)
    entries, story = cluster.record()
    assert_same_story(told, entries)
    assert len(gaps(story)) == len(gaps(before)), [gap.record.gap for gap in gaps(story)]


def gaps(story: Story) -> list:
    return story.stamp_gaps + story.engine_gaps
