"""`deploy/compose.yaml` as it is: brought up, broken, taken down and replaced, and right after each."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import stack as stacks
from harness.churn import Churn
from harness.compose import ENDING, ROLES, SERVICES, Compose
from harness.engine import STUBBORN
from harness.listener import Listener, assert_every_event_is_told
from harness.order import Story
from harness.stream import Entry, assert_same_story
from harness.wait import eventually

pytestmark = pytest.mark.timeout(180)

# Which networks a service is in, where these are not just the one that the servers are in.
NETWORKS = {"engine": ["engine"], "producer": ["default", "engine"], ENDING: ["none"]}
# Whose data outlives the containers.
KEEPING = ["nats", "redis", "producer"]


@pytest.fixture(scope="module")
def engine(machine_engine):
    return machine_engine


@pytest.fixture(scope="module")
def compose(engine, binary):
    compose = Compose(engine)
    stacks.alive.append(compose)
    try:
        yield compose.start()
    finally:
        stacks.alive.remove(compose)
        compose.stop()


@pytest.fixture
def change(compose, containers):
    """Something new on the engine, which the picture must then show too."""
    return lambda: containers.run(STUBBORN)


def test_healthy_and_right(compose, change):
    change()
    assert compose.healthy()
    assert compose.container(ENDING).attrs["State"]["ExitCode"] == 0
    _, story = compose.wait_settled()
    assert not gaps(story)
    listed = json.loads(compose.say("exec", "--no-TTY", "producer", "deckwatch", "ps", "--output", "json"))
    assert listed["revision"] is not None
    assert {item["id"] for item in listed["items"]} == set(compose.engine.states(compose.node))
    checked = json.loads(compose.say("exec", "--no-TTY", "producer", "deckwatch", "doctor", "--output", "json"))
    assert {item["result"] for item in checked["items"]} == {"ok"}, checked


def test_contained(compose):
    for service in (*SERVICES, ENDING):
        inspect = compose.container(service).attrs
        host = inspect["HostConfig"]
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"], service
        assert host["SecurityOpt"] == ["no-new-privileges:true"] and host["Memory"] and host["PidsLimit"], service
        assert service in ("engine", ENDING) or inspect["Config"]["User"] == "65532:65532", service
        mounted = [mount["Destination"] for mount in inspect["Mounts"] if mount["Type"] == "bind" and mount["RW"]]
        assert not mounted, f"{service} can write to {mounted} of the host"
        kept = [mount["Destination"] for mount in inspect["Mounts"] if mount["Type"] == "volume"]
        assert (kept == ["/data"]) == (service in KEEPING), f"{service} keeps {kept}"
        published = [place for places in (host["PortBindings"] or {}).values() for place in places]
        assert {place["HostIp"] for place in published} <= {"127.0.0.1"}, service
        assert bool(published) == (service in compose.ports), service


def test_only_the_producer_reaches_the_engine(compose):
    """It, and nobody else, shares a network with the proxy; the proxy, and nobody else, sees the socket."""
    assert compose.network("engine").attrs["Internal"]
    for service in (*SERVICES, ENDING):
        inspect = compose.container(service).attrs
        networks = sorted(name.removeprefix(f"{compose.project}_") for name in inspect["NetworkSettings"]["Networks"])
        assert networks == NETWORKS.get(service, ["default"]), service
        mounts = [mount["Destination"] for mount in inspect["Mounts"] if mount["Type"] == "bind"]
        seen = [place for place in mounts if not place.startswith("/etc/deckwatch/")]
        assert seen == (["/run/engine"] if service == "engine" else []), service


def test_what_the_servers_acknowledge_is_kept(compose):
    told = compose.say("exec", "--no-TTY", "nats", "wget", "-q", "-O", "-", "http://127.0.0.1:8222/varz")
    config = json.loads(told)["jetstream"]["config"]
    assert config.get("sync_always") and config["store_dir"].startswith("/data"), config
    config = compose.store.client.config_get("*")
    wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "dir": "/data"}
    assert {name: config[name] for name in wanted} == wanted and int(config["maxmemory"]), config


def test_the_engine_is_asked_only_what_a_producer_reads(compose, change):
    container = change()

    of_it, version = f"/containers/{container.id}", "/v1.41"
    read = ["/_ping", "/version", f"{version}/info", f"{version}/containers/json?all=1", f"{of_it}/json"]
    hidden = [f"{of_it}/archive?path=/", f"{of_it}/export", "/secrets", "/images/json", "/"]
    detours = ["/containers/../secrets", f"{of_it}/json/../export", f"{of_it}/%6cogs", "//secrets", "/containers/%2e%2e/json"]
    writes = [(method, f"{of_it}/json") for method in ("POST", "PUT", "PATCH", "DELETE", "HEAD")]
    writes += [("DELETE", of_it), ("POST", f"{of_it}/kill"), ("POST", "/containers/create")]
    asked = [("GET", path) for path in read + hidden + detours] + writes
    expected = [200] * len(read) + [403] * (len(asked) - len(read))
    answers = compose.ask_engine(asked)
    assert answers == expected, list(zip(asked, answers, strict=True))
    assert compose.engine.status(container) == "running"


def test_restarted(compose, change):
    for service in SERVICES:
        compose.say("restart", service)
        change()
        compose.wait_ready()
        _, story = compose.wait_settled()
        compose.wait_healthy()
    # The producer starts again with NATS: what it could not send meanwhile is lost, and said to be.
    assert len(gaps(story)) <= 1 and not story.engine_gaps


def test_killed(compose, change):
    before = len(gaps(compose.wait_settled()[1]))
    for service in SERVICES:
        compose.say("kill", "--signal", "KILL", service)
        change()
        compose.say("up", "--detach", service)
        compose.wait_ready()
        _, story = compose.wait_settled()
        compose.wait_healthy()
    # What only the killed producer knew is lost, and said to be.
    assert len(gaps(story)) <= before + 1 and not story.engine_gaps


def test_crashed_all_at_once(compose, change):
    """A policy brings back what ended by itself; what somebody killed stays so."""
    before = {service: compose.container(service).attrs["State"]["StartedAt"] for service in SERVICES}
    for service in SERVICES:
        compose.kill_process(service)
    change()

    def back() -> bool:
        states = {service: compose.container(service).attrs["State"] for service in SERVICES}
        return all(state["Running"] and state["StartedAt"] > before[service] for service, state in states.items())

    eventually(back, 30, "all run again")
    compose.wait_ready()
    compose.wait_settled()
    compose.wait_healthy()


def test_down_and_up(compose, change):
    told, before = compose.wait_settled()
    compose.store.client.set("somebody", "else")
    compose.say("down")
    assert not compose.engine.client.containers.list(all=True, filters={"label": f"com.docker.compose.project={compose.project}"})
    change()
    compose.up()
    entries, story = compose.wait_settled()
    assert_same_story(told, entries)
    assert len(gaps(story)) == len(gaps(before)), [gap.record.gap for gap in gaps(story)]
    assert compose.store.client.getdel("somebody") == "else", "Redis keeps what is in its volume"


def test_replaced_under_load(compose, containers):
    """An upgrade: every container is made anew while others come and go, and nothing of it is lost."""
    told, story = compose.wait_settled()
    before, replaced = len(gaps(story)), {service: compose.container(service).id for service in SERVICES}
    # The engine remembers 256 events: so many must not happen while the producer is away.
    with Listener(containers.address) as listener:
        with Churn(containers, threads=1, pause=0.3) as churn, ThreadPoolExecutor() as beside:
            churn.keep_on(1)
            replacing = beside.submit(compose.up, "--force-recreate")
            eventually(lambda: not compose.runs("producer"), 60, "the producer is away")
            meanwhile = containers.run(["true"])
            replacing.result()
            churn.keep_on(1)
        entries, story = compose.wait_settled(40)
    assert churn.done > 5, "there was no load"
    actions = [entry.action for entry in without_replays(compose.of_container(meanwhile)) if entry.action]
    assert actions == ["create", "start", "die"], actions
    assert all(compose.container(service).id != replaced[service] for service in SERVICES)
    assert len(gaps(story)) == before, [gap.record.gap for gap in gaps(story)[before:]]
    assert_every_event_is_told(listener.events, without_replays(entries[len(told) :]))
    assert compose.healthy()


def gaps(story: Story) -> list[Entry]:
    return story.stamp_gaps + story.engine_gaps


def without_replays(entries: list[Entry]) -> list[Entry]:
    """A new life of a producer tells again, and says so, what it hears from the engine's memory."""
    told, first = set(), []
    for entry in entries:
        event = entry.record.event
        which = (entry.about, entry.action, event.time.seconds, event.time.nanos)
        if not (event.replayed and which in told):
            first.append(entry)
        told.add(which)
    return first
