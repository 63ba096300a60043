"""Redis as the contract lays it out, read with redis-py and compared with the engine and with the ordered record."""

import json
from collections import defaultdict
from dataclasses import dataclass

import redis

from harness.state import FIELDS, FROM_ENGINE, differences, from_redis
from harness.stream import Entry

STATUSES = "created start_failed running paused restarting exited removing dead unknown".split()
FAILED = ("crashed", "oom_killed", "daemon_restart", "vanished", "start_failed")


@dataclass
class Store:
    client: redis.Redis
    node: str
    partitions: int = 1

    def key(self, name: str) -> str:
        return f"deckwatch:{{{self.node}}}:{name}"

    def fields(self, container_id: str) -> dict[str, str]:
        return self.client.hgetall(self.key(f"container:{container_id}"))

    def state(self, container_id: str) -> dict | None:
        fields = self.fields(container_id)
        return from_redis(fields) if fields else None

    def states(self) -> dict[str, dict]:
        prefix = self.key("container:")
        return {key.removeprefix(prefix): from_redis(self.client.hgetall(key)) for key in self.keys(f"{prefix}*")}

    def keys(self, pattern: str) -> list[str]:
        return sorted(set(self.client.scan_iter(pattern, count=1000)))

    def node_fields(self) -> dict[str, str]:
        return self.client.hgetall(self.key("node"))

    def current(self) -> bool:
        """The projector vouches for what stands in Redis."""
        partitions = [f"deckwatch:partition:{number}" for number in range(self.partitions)]
        return self.client.exists(*partitions) == self.partitions

    def read(self) -> dict:
        """What a client lists: the node's keys with its checkpoint, in one call."""
        return json.loads(self.client.execute_command("FCALL_RO", "deckwatch_v1_read", 1, self.key("node")))


def assert_equals_engine(store: Store, engine_states: dict[str, dict]) -> None:
    """Every container field by field, every index, every total, and not a key more."""
    assert store.current(), "deckwatch:partition:<p> is absent: nothing in Redis is current"
    stored = store.states()
    found = []
    for absent in engine_states.keys() - stored.keys():
        found.append(f"{absent[:12]} is on the engine ({engine_states[absent]['status']}) and not in Redis")
    for ghost in stored.keys() - engine_states.keys():
        found.append(f"{ghost[:12]} is in Redis ({stored[ghost].get('status')}) and not on the engine")
    for container_id in engine_states.keys() & stored.keys():
        for text in differences(stored[container_id], engine_states[container_id], FROM_ENGINE):
            found.append(f"{container_id[:12]} {text} (Redis, engine)")
    if not found:
        found = index_differences(store, stored)
    assert not found, f"{len(found)} differences, {len(engine_states)} containers:\n  " + "\n  ".join(found[:30])


def index_differences(store: Store, stored: dict[str, dict]) -> list[str]:
    expected = expected_sets(store, stored)
    totals = expected_totals(stored)
    found = []
    for key, members in expected.items():
        actual = store.client.smembers(key)
        if actual != members:
            found.append(f"{key}: {sorted(actual)} is not {sorted(members)}")
    for service, counts in totals.items():
        fields = store.client.hgetall(f"deckwatch:service:{service}")
        actual = {name: fields.get(name) for name in counts}
        if actual != {name: str(count) for name, count in counts.items()}:
            found.append(f"totals of {service}: {actual} is not {counts}")
        if f"node:{store.node}" not in fields:
            found.append(f"totals of {service} lack this node's share")
    node = store.node_fields()
    counted = (node.get("containers"), node.get("running"))
    counts = (str(len(stored)), str(_count(stored.values(), "running")))
    if counted != counts:
        found.append(f"the node counts {counted} containers and running ones, and there are {counts}")
    known = set(expected) | {store.key(f"container:{container_id}") for container_id in stored}
    known |= {f"deckwatch:service:{service}" for service in totals}
    known |= {store.key("node"), store.key("checkpoint"), "deckwatch:meta"}
    known |= {f"deckwatch:partition:{number}" for number in range(store.partitions)}
    found += [f"a key that should not be there: {key}" for key in store.keys("deckwatch:*") if key not in known]
    return found


def expected_sets(store: Store, stored: dict[str, dict]) -> dict[str, set[str]]:
    sets = defaultdict(set)
    sets["deckwatch:nodes"] = {store.node}
    for container_id, state in stored.items():
        sets[store.key("containers")].add(container_id)
        sets[store.key(f"status:{state['status']}")].add(container_id)
        sets[f"deckwatch:id:{container_id}"].add(store.node)
        if service := service_of(state):
            sets[store.key(f"service:{service}")].add(container_id)
            sets["deckwatch:services"].add(service)
    return dict(sets)


def expected_totals(stored: dict[str, dict]) -> dict[str, dict[str, int]]:
    services = defaultdict(list)
    for state in stored.values():
        if service := service_of(state):
            services[service].append(state)
    return {
        service: {
            "containers": len(states),
            "running": _count(states, "running"),
            "unhealthy": sum(state.get("health") == "unhealthy" for state in states),
            "failed": sum(failed(state) for state in states),
            "nodes": 1,
        }
        for service, states in services.items()
    }


def service_of(state: dict) -> str | None:
    return f"{state['project']}/{state['service']}" if "project" in state and "service" in state else None


def failed(state: dict) -> bool:
    return state["status"] in ("start_failed", "dead") or (
        state["status"] in ("exited", "restarting") and state.get("stop_cause") in FAILED
    )


def _count(states, status: str) -> int:
    return sum(state["status"] == status for state in states)


def assert_equals_record(store: Store, entries: list[Entry]) -> None:
    """The last record of each container's subject is its state in Redis, every field of it."""
    last = {}
    for entry in entries:
        if entry.node == store.node and entry.record.HasField("container"):
            last[entry.about] = entry
    told = {about: entry.state for about, entry in last.items()}
    living = {about: state for about, state in told.items() if state["status"] != "removed"}
    stored = store.states()
    assert living.keys() == stored.keys(), (
        f"only on the subjects: {living.keys() - stored.keys()}, only in Redis: {stored.keys() - living.keys()}"
    )
    found = [
        f"{about[:12]} {text} (Redis, subject)"
        for about, state in living.items()
        for text in differences(stored[about], state, FIELDS)
    ]
    assert not found, "\n  ".join(found[:30])
