"""Several nodes in one Redis: each equals its engine, and what they share counts all of them."""

from collections import Counter, defaultdict

from harness.state import FROM_ENGINE, differences
from harness.store import Store, expected_sets, expected_totals


def assert_each_equals(truths: list[tuple[Store, dict[str, dict]]], partitions: int = 1) -> None:
    """Every container field by field, every index and every total; `truths` are what the nodes' engines say."""
    client = truths[0][0].client
    for number in range(partitions):
        assert client.exists(f"deckwatch:partition:{number}"), f"partition {number} is not current"
    sets, totals = defaultdict(set), defaultdict(Counter)
    for store, truth in truths:
        stored = store.states()
        assert stored.keys() == truth.keys(), f"{store.node}: {stored.keys() ^ truth.keys()}"
        for container_id, state in stored.items():
            found = differences(state, truth[container_id], FROM_ENGINE)
            assert not found, f"{store.node}, {container_id[:12]}: {found} (Redis, engine)"
        for key, members in expected_sets(store, stored).items():
            sets[key] |= members
        for service, counts in expected_totals(stored).items():
            totals[service] += Counter(counts)
    for key, members in sets.items():
        assert client.smembers(key) == members, f"{key}: {client.smembers(key)} is not {members}"
    for service, counts in totals.items():
        fields = client.hgetall(f"deckwatch:service:{service}")
        found = {name: int(fields.get(name, -1)) for name in counts}
        assert found == counts, f"{service}: {found} is not {counts}"
