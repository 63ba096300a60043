"""Promise 4 on Redis: reads a node again and again and notes every step back of a container."""

import threading

import redis

from harness.store import Store


class Sampler:
    """Use as a context; `steps_back` must be empty at the end."""

    def __init__(self, store: Store):
        self._store = store
        self._newest: dict[str, tuple[int, int]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.samples = 0
        self.steps_back: list[str] = []

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join(20)

    def _sample(self) -> None:
        while not self._stop.wait(0.2):
            try:
                states = self._store.states()
            except redis.RedisError:
                continue  # It was killed: that is what the test does.
            self.samples += 1
            for container_id, state in states.items():
                if "epoch" not in state:
                    continue  # Removed between the scan and the read.
                fresh = (state["epoch"], state["as_of"])
                before = self._newest.get(container_id, (0, 0))
                if fresh < before:
                    self.steps_back.append(f"{container_id[:12]} from {before} to {fresh}")
                self._newest[container_id] = max(fresh, before)
