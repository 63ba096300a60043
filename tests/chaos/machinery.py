"""The event loop, in a thread of its own, in which engines, load and ways live."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# It warns of connections that are gone while something is sent: here they are meant to be.
logging.getLogger("asyncio").setLevel(logging.ERROR)
# For anything that is asked of it.
ANSWER_MAX = 30


class Machinery:
    """Use as a context."""

    def __enter__(self) -> "Machinery":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._tasks: set[asyncio.Task] = set()
        return self

    def __exit__(self, *_) -> None:
        self.do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_MAX)
        self._loop.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(ANSWER_MAX)

    def call(self, work: Callable[[], T]) -> T:
        """Runs it between two steps of all that lives there."""

        async def once() -> T:
            return work()

        return self.do(once())

    def begin(self, work: Coroutine) -> None:
        """It goes on until the end."""

        async def start() -> None:
            self._tasks.add(asyncio.create_task(work))

        self.do(start())

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        failures = [each for each in await asyncio.gather(*self._tasks, return_exceptions=True)]
        for failure in failures:
            if not isinstance(failure, asyncio.CancelledError):
                raise failure
        # The connections that end now say so, and nobody needs to hear it.
        self._loop.set_exception_handler(lambda *_: None)
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
