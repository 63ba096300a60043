"""An engine that takes its time: the answer to one `GET /containers/json` waits until it is let go."""

import re
import threading
from pathlib import Path

from harness.proxy import Proxy
from harness.wait import eventually

LIST = re.compile(rb"GET (/v[0-9.]+)?/containers/json[? ]")


class Holding(Proxy):
    """As a proxy; after `hold` the next list waits for `release`, and those after it do not."""

    def __init__(self, path: Path, target: str):
        super().__init__(path, target)
        self._wanted, self._held, self._free = threading.Lock(), threading.Event(), threading.Event()
        self._wanted.acquire()

    def filter(self) -> "Filter":
        return Filter(self._wait)

    def hold(self) -> None:
        self._held.clear()
        self._free.clear()
        self._wanted.release()

    def wait_held(self) -> None:
        eventually(self._held.is_set, 20, "a list waits")

    def release(self) -> None:
        self._wanted.acquire(blocking=False)
        self._free.set()

    def _wait(self) -> None:
        if self._wanted.acquire(blocking=False):
            self._held.set()
            self._free.wait()


class Filter:
    def __init__(self, wait):
        self._wait = wait

    def request(self, data: bytes) -> bytes:
        if LIST.match(data):
            self._wait()
        return data

    def answer(self, data: bytes) -> bytes:
        return data
