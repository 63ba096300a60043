"""An independent listener on the engine's events: what happened, told by the engine to somebody else."""

import threading
import time

import docker

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
