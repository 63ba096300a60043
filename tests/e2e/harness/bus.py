"""Requests, subscriptions and the streams' upkeep, with nats-py."""

import asyncio
import json
from collections.abc import Callable
from typing import TypeVar

import nats
import nats.micro
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from harness.connection import connection


T = TypeVar("T")


class ServiceError(Exception):
    """A service's answer that is an error: `Nats-Service-Error-Code` and `Nats-Service-Error`."""

    def __init__(self, code: str, text: str):
        super().__init__(f"{code}: {text}")
        self.code, self.text = code, text


def request(url: str, subject: str, payload: bytes = b"", timeout: float = 10) -> bytes:
    async def ask() -> Msg:
        async with connection(url) as client:
            return await client.request(subject, payload, timeout=timeout)

    answer = asyncio.run(ask())
    headers = answer.headers or {}
    if "Nats-Service-Error-Code" in headers:
        raise ServiceError(headers["Nats-Service-Error-Code"], headers.get("Nats-Service-Error", ""))
    return answer.data


def request_each(url: str, subject: str, payloads: list[bytes], timeout: float = 10) -> None:
    """One request after another, over one connection."""

    async def ask() -> None:
        async with connection(url) as client:
            for payload in payloads:
                answer = await client.request(subject, payload, timeout=timeout)
                assert "Nats-Service-Error-Code" not in (answer.headers or {}), answer.headers

    asyncio.run(ask())


def gather(url: str, subject: str, seconds: float = 1.0) -> list[dict]:
    """All JSON answers to one request, as `nats micro` gathers them."""

    async def ask() -> list[dict]:
        found = []
        async with connection(url) as client:
            inbox = client.new_inbox()
            answers = await client.subscribe(inbox)
            await client.publish(subject, reply=inbox)
            try:
                while True:
                    found.append(json.loads((await answers.next_msg(timeout=seconds)).data))
            except nats.errors.TimeoutError:
                return found

    return asyncio.run(ask())


def requests_answered(url: str, service: str, endpoint: str) -> int:
    """By the one instance of a service, as it counts them itself."""
    (stats,) = gather(url, f"$SRV.STATS.{service}", seconds=0.3)
    return next(each["num_requests"] for each in stats["endpoints"] if each["name"] == endpoint)


def while_served(url: str, service: str, version: str, act: Callable[[], T]) -> T:
    """What `act` comes to while there is a service of that name and version."""

    async def serve() -> T:
        async with connection(url) as client:
            served = await nats.micro.add_service(client, name=service, version=version)
            await client.flush()
            try:
                return await asyncio.to_thread(act)
            finally:
                await served.stop()

    return asyncio.run(serve())


def overhear(
    url: str, subject: str, act: Callable[[], None], until: Callable[[list[Msg]], bool], within: float = 20
) -> list[Msg]:
    """Subscribes, does `act` meanwhile, and returns the messages once `until` is content with them."""

    async def listen() -> list[Msg]:
        heard: list[Msg] = []
        async with connection(url) as client:
            messages = await client.subscribe(subject)
            await client.flush()
            acting = asyncio.create_task(asyncio.to_thread(act))
            deadline = asyncio.get_running_loop().time() + within
            while not (acting.done() and until(heard)):
                left = deadline - asyncio.get_running_loop().time()
                assert left > 0, f"{subject}: heard {len(heard)} messages in {within:g} s, and not what was to come"
                try:
                    heard.append(await messages.next_msg(timeout=min(left, 0.2)))
                except nats.errors.TimeoutError:
                    pass
            await acting
        return heard

    return asyncio.run(listen())


def publish_acknowledged(url: str, subject: str, payload: bytes) -> None:
    async def publish() -> None:
        async with connection(url) as client:
            await client.jetstream().publish(subject, payload)

    asyncio.run(publish())


def stream_size(url: str, stream: str) -> int:
    async def ask() -> int:
        async with connection(url) as client:
            return (await client.jetstream().stream_info(stream)).state.messages

    return asyncio.run(ask())


def stream_end(url: str, stream: str) -> int:
    """The last sequence that the stream has given."""

    async def ask() -> int:
        async with connection(url) as client:
            return (await client.jetstream().stream_info(stream)).state.last_seq

    return asyncio.run(ask())


def last_value(url: str, bucket: str, key: str) -> bytes:
    """The value of a key of a bucket now; empty where it has none."""

    async def ask() -> bytes:
        async with connection(url) as client:
            try:
                return (await client.jetstream().get_last_msg(f"KV_{bucket}", f"$KV.{bucket}.{key}")).data or b""
            except NotFoundError:
                return b""

    return asyncio.run(ask())


def keys(url: str, bucket: str) -> list[str]:
    """All keys of a bucket."""

    async def ask() -> list[str]:
        async with connection(url) as client:
            info = await client.jetstream().stream_info(f"KV_{bucket}", subjects_filter=">")
            return [subject.removeprefix(f"$KV.{bucket}.") for subject in info.state.subjects or {}]

    return asyncio.run(ask())


def delete_message(url: str, stream: str, sequence: int) -> None:
    async def delete() -> None:
        async with connection(url) as client:
            assert await client.jetstream().delete_msg(stream, sequence)

    asyncio.run(delete())


def trim(url: str, stream: str, below: int) -> None:
    """Removes what a stream holds below a sequence, as its age limit would."""

    async def purge() -> None:
        async with connection(url) as client:
            await client.jetstream().purge_stream(stream, seq=below)

    asyncio.run(purge())


def delete_stream(url: str, stream: str) -> None:
    async def delete() -> None:
        async with connection(url) as client:
            assert await client.jetstream().delete_stream(stream)

    asyncio.run(delete())


def make_anew(url: str, stream: str) -> None:
    """The stream is deleted, and one of the same configuration made at once: empty, as it first was."""

    async def remake() -> None:
        async with connection(url) as client:

            async def ask(what: str, payload: bytes = b"") -> dict:
                answer = json.loads((await client.request(f"$JS.API.STREAM.{what}.{stream}", payload, timeout=5)).data)
                assert "error" not in answer, answer
                return answer

            config = (await ask("INFO"))["config"]
            await ask("DELETE")
            await ask("CREATE", json.dumps(config).encode())

    asyncio.run(remake())


def change(url: str, stream: str, **settings) -> None:
    """Another hand changes settings of the stream."""

    async def update() -> None:
        async with connection(url) as client:

            async def ask(what: str, payload: bytes = b"") -> dict:
                answer = json.loads((await client.request(f"$JS.API.STREAM.{what}.{stream}", payload, timeout=5)).data)
                assert "error" not in answer, answer
                return answer

            await ask("UPDATE", json.dumps((await ask("INFO"))["config"] | settings).encode())

    asyncio.run(update())


def stream_exists(url: str, stream: str) -> bool:
    try:
        stream_size(url, stream)
    except NotFoundError:
        return False
    return True
