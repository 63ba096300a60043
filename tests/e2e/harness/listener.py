"""An independent listener on the engine's events: what happened, told by the engine to somebody else."""

import threading
import time
from collections import Counter

import docker

from harness.stream import Entry

# What deckwatch makes records of; the engine has more (`attach`, `exec_*`, `resize` …).
ACTIONS = "create start die stop kill oom pause unpause restart rename update destroy health_status".split()


class Listener:
    """Use as a context; `events` are `(container id, action, time in ns)`."""

    def __init__(self, address: str):
        self._client = docker.DockerClient(base_url=address, timeout=None)
        self.events: list[tuple[str, str, int]] = []

    def __enter__(self) -> "Listener":
        # Events from this second on: what the header of the answer precedes is not lost.
        self._stream = self._client.events(
            decode=True, since=int(time.time()), filters={"type": "container", "event": ACTIONS}
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def _listen(self) -> None:
        for event in self._stream:
            self.events.append((event["Actor"]["ID"], event["Action"].split(":")[0], event["timeNano"]))

    def __exit__(self, *_) -> None:
        self._stream.close()
        self._thread.join(10)
        self._client.close()


def assert_every_event_is_told(happened: list[tuple], entries: list[Entry]) -> None:
    """Each event that the engine told an independent listener is in the record exactly once."""
    made = {container_id for container_id, action, _ in happened if action == "create"}
    happened = [event for event in happened if event[0] in made]
    seconds = 10**9
    told = Counter(
        (entry.about, entry.action, entry.record.event.time.seconds * seconds + entry.record.event.time.nanos)
        for entry in entries
        if entry.action
    )
    twice = [event for event, count in told.items() if count > 1]
    assert not twice, f"told more than once: {twice[:10]}"
    missing = set(happened) - set(told)
    assert not missing, f"{len(missing)} of {len(happened)} events are not told: {sorted(missing)[:10]}"
    invented = {event for event in told if event[0] in made} - set(happened)
    assert not invented, f"told and never happened: {sorted(invented)[:10]}"
    print(f"{len(happened)} events of the engine, each told once")
