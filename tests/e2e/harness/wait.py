"""Waiting for something to become true: polls, never sleeps blindly, and says how long it took."""

import time
from collections.abc import Callable
from typing import TypeVar

import nats.errors
import redis

T = TypeVar("T")

# Where a bound is promised, a loaded machine is allowed this many times of it.
SLACK = 4

# What a server that is away, or on its way up, makes its clients raise.
UNREACHABLE = (OSError, EOFError, nats.errors.Error, redis.RedisError)


def eventually(check: Callable[[], T], within: float, what: str, since: float | None = None, every: float = 0.05) -> T:
    """Calls `check` until it returns something other than `False` or `None` and raises no AssertionError."""
    started = time.monotonic() if since is None else since
    deadline = started + within
    while True:
        last = "it was not so"
        try:
            result = check()
            if result is not None and result is not False:
                print(f"{what}: {time.monotonic() - started:.2f} s")
                return result
        except AssertionError as error:
            last = str(error)
        except UNREACHABLE as error:
            last = f"{type(error).__name__}: {error}"
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what}: not within {within:g} s; last: {last}")
        time.sleep(every)


def promised(check: Callable[[], T], bound: float, what: str, since: float | None = None) -> T:
    """As `eventually`, for something that is promised within `bound` seconds."""
    return eventually(check, bound * SLACK, f"{what} (promised within {bound:g} s)", since)
