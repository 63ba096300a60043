"""A Redis that answers, and refuses: the roles stay up, say it once, and go on by themselves."""

import secrets
import threading

import pytest
import redis

from harness import http
from harness.engine import STUBBORN
from harness.ports import free_port
from harness.stack import Stack
from harness.wait import eventually


class Refusal:
    """Why it refuses, and how that begins and ends."""

    code: str
    # So many times it says another reason, at most: what it says first may depend on what it was about to do.
    reasons = 2

    def begin(self, stack: Stack) -> None:
        raise NotImplementedError

    def end(self, stack: Stack) -> None:
        raise NotImplementedError


class Full(Refusal):
    code = "OOM"

    def begin(self, stack: Stack) -> None:
        stack.store.client.config_set("maxmemory", 1)

    def end(self, stack: Stack) -> None:
        stack.store.client.config_set("maxmemory", 0)


class Unsaved(Refusal):
    """A disk on which it cannot save."""

    code = "MISCONF"

    def begin(self, stack: Stack) -> None:
        client = stack.store.client
        self._file = stack.folder / "redis" / client.config_get("dbfilename")["dbfilename"]
        self._file.mkdir()
        client.config_set("save", "3600 1000000")
        self._save(client, "err")

    def end(self, stack: Stack) -> None:
        self._file.rmdir()
        self._save(stack.store.client, "ok")
        stack.store.client.config_set("save", "")

    def _save(self, client: redis.Redis, outcome: str) -> None:
        client.bgsave()
        eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == outcome, 20, "it has tried to save")


class Demoted(Refusal):
    code = "READONLY"

    def begin(self, stack: Stack) -> None:
        stack.store.client.replicaof("127.0.0.1", free_port())

    def end(self, stack: Stack) -> None:
        stack.store.client.replicaof("NO", "ONE")


class Busy(Refusal):
    code = "BUSY"

    def begin(self, stack: Stack) -> None:
        stack.store.client.config_set("busy-reply-threshold", 100)
        self._thread = threading.Thread(target=self._loop, args=(stack,), daemon=True)
        self._thread.start()

    def end(self, stack: Stack) -> None:
        stack.store.client.script_kill()
        self._thread.join(20)

    def _loop(self, stack: Stack) -> None:
        try:
            redis.Redis(port=stack.redis.port).eval("while true do end", 0)
        except redis.RedisError:
            pass  # It was killed: that is its end.


class Loading(Refusal):
    """It reads its data, a key in 0.2 s, before it answers."""

    code = "LOADING"
    # First it is away: connections are cut, and then refused.
    reasons = 4

    def begin(self, stack: Stack) -> None:
        client = stack.store.client
        for number in range(100):
            # Large ones, and no two alike: while it reads, it looks for questions after so many bytes.
            client.set(f"other:{number}", secrets.token_hex(1000))
        client.bgrewriteaof()
        eventually(lambda: not client.info("persistence")["aof_rewrite_in_progress"], 20, "its file is written anew")
        self._argv = stack.redis.process.argv
        stack.redis.kill()
        slowly = ["--key-load-delay", "200000", "--loading-process-events-interval-bytes", "1024"]
        stack.redis.process.argv = [*self._argv, *slowly]
        stack.redis.process.start()

    def end(self, stack: Stack) -> None:
        stack.redis.process.argv = self._argv
        client = stack.store.client
        client.config_set("key-load-delay", 0)
        eventually(client.ping, 20, "it has read its data")
        client.delete(*(f"other:{number}" for number in range(100)))


@pytest.mark.parametrize("refusal", [Full(), Unsaved(), Demoted(), Busy(), Loading()], ids=lambda refusal: refusal.code)
def test_a_refusal_is_waited_out(brisk_stack, containers, refusal):
    stack = brisk_stack
    stack.wait_settled()
    log = stack.projector.process.stderr
    began, named = len(log.read_text()), len(stack.corrections())
    refusal.begin(stack)
    try:
        made = containers.run(STUBBORN)

        def told() -> bool:
            status, reason = http.readiness(stack.projector.port)
            assert status == 503 and refusal.code in reason.upper(), (status, reason)
            return True

        eventually(told, 20, "the projector says it", every=0.02)
    finally:
        refusal.end(stack)
    stack.projector.wait_ready()
    stack.wait_settled(30)
    assert stack.store.state(made.id)["status"] == "running"
    assert len(stack.corrections()) == named, "what is not answered is no drift"
    said = [line for line in log.read_text()[began:].splitlines() if "not ready" in line]
    assert len(said) <= refusal.reasons, said
