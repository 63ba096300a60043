"""A server that says something else of itself: its clock, its version, its identity."""

import re
from pathlib import Path

from harness.proxy import Proxy


class Liar(Proxy):
    """As a proxy; in what the server answers, group 1 of each pattern is replaced by a text of the same length."""

    def __init__(self, path: Path, target: str, lies: dict[bytes, bytes]):
        super().__init__(path, target)
        self._lies = {re.compile(pattern): text for pattern, text in lies.items()}

    def filter(self) -> "Filter":
        return Filter(self._lies)


class Filter:
    """The answers that are lied about are short, so each comes in one piece."""

    def __init__(self, lies: dict[re.Pattern[bytes], bytes]):
        self._lies = lies

    def request(self, data: bytes) -> bytes:
        return data

    def answer(self, data: bytes) -> bytes:
        for pattern, text in self._lies.items():
            data = pattern.sub(lambda found, text=text: _replaced(found, text), data)
        return data


def _replaced(found: re.Match[bytes], text: bytes) -> bytes:
    whole, start = found[0], found.start(1) - found.start(0)
    assert len(text) == len(found[1]), f"{text} is not as long as {found[1]}"
    return whole[:start] + text + whole[start + len(text) :]
