"""Short connections to NATS: made for one question, quiet about failing, and never healing behind a test's back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
from nats.aio.client import Client


@asynccontextmanager
async def connection(url: str, timeout: float = 5) -> AsyncIterator[Client]:
    client = await nats.connect(
        url, connect_timeout=timeout, allow_reconnect=False, max_reconnect_attempts=0, error_cb=_say_nothing
    )
    try:
        yield client
    finally:
        await client.close()


async def _say_nothing(_: Exception) -> None:
    """nats-py prints what nobody listens to; the caller gets it as an exception anyhow."""
