"""What Redis holds of all nodes, compared with their engines, with the ordered record, and with itself."""

from collections import Counter, defaultdict

import redis

from harness.state import FIELDS, FROM_ENGINE, differences
from harness.store import Store, expected_sets, expected_totals
from ledger import Ledger

# Differences that are named; more than these help nobody.
NAMED_MAX = 12


def assert_right(client: redis.Redis, truths: dict[str, dict[str, dict]], ledger: Ledger | None) -> None:
    """Every field of every container, every index, every total, and not a key more. No ledger: no record to go by."""
    found = []
    if not client.exists("deckwatch:partition:0"):
        found.append("deckwatch:partition:0 is absent: nothing in Redis is current")
    sets, totals, known = defaultdict(set), defaultdict(Counter), {"deckwatch:meta", "deckwatch:partition:0"}
    for node, truth in truths.items():
        store = Store(client, node)
        stored = store.states()
        # Between the list of keys and the read of one: nothing is settled yet.
        assert all("status" in state for state in stored.values()), f"{node} changes while it is read"
        found += [f"{node}: {text}" for text in _against(stored, truth, FROM_ENGINE, "engine")]
        if ledger:
            told = {about: entry.state for about, entry in ledger.states(node).items()}
            found += [f"{node}: {text}" for text in _against(stored, told, FIELDS, "record")]
        found += _of_the_node(store, stored)
        for key, members in expected_sets(store, stored).items():
            sets[key] |= members
        for service, counts in expected_totals(stored).items():
            totals[service] += Counter(counts)
        known |= {store.key("node"), store.key("checkpoint")}
        known |= {store.key(f"container:{container_id}") for container_id in stored}
    for key, members in sets.items():
        if (actual := client.smembers(key)) != members:
            found.append(f"{key}: {len(actual - members)} too many, {len(members - actual)} missing")
    for service, counts in totals.items():
        fields = client.hgetall(f"deckwatch:service:{service}")
        if (actual := {name: int(fields.get(name, -1)) for name in counts}) != dict(counts):
            found.append(f"totals of {service}: {actual} is not {dict(counts)}")
    known |= set(sets) | {f"deckwatch:service:{service}" for service in totals}
    found += [f"a key that should not be there: {key}" for key in client.scan_iter("deckwatch:*") if key not in known]
    assert not found, f"{len(found)} differences:\n  " + "\n  ".join(found[:NAMED_MAX])


def _against(stored: dict[str, dict], other: dict[str, dict], fields: list[str], whose: str) -> list[str]:
    absent = other.keys() - stored.keys()
    found = [f"{each[:12]} is in the {whose} ({other[each]['status']}), not in Redis" for each in absent]
    found += [f"{each[:12]} is in Redis, not in the {whose}" for each in stored.keys() - other.keys()]
    for each in stored.keys() & other.keys():
        found += [f"{each[:12]} {text} (Redis, {whose})" for text in differences(stored[each], other[each], fields)]
    return found


def _of_the_node(store: Store, stored: dict[str, dict]) -> list[str]:
    node = store.node_fields()
    running = sum(state["status"] == "running" for state in stored.values())
    said = tuple(node.get(name) for name in ("status", "containers", "running"))
    expected = ("alive", str(len(stored)), str(running))
    return [] if said == expected else [f"{store.node} says {said} of itself, not {expected}"]
