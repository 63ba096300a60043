"""`doctor` names what is wrong with the surroundings, and says what to do about it."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness import bus
from harness.liar import Liar
from harness.old import OldNats, OldRedis
from harness.paths import BINARY, environment, tool
from harness.ports import free_port, listening
from harness.process import Process
from harness.program import Result
from harness.wait import eventually

NOBODY = 65534
CHECKS = {
    *("nats", "nats max_payload", "jetstream", "streams", "clock of nats", "versions"),
    *("redis", "redis writes", "redis eviction", "clock of redis", "redis schema", "picture"),
    *("engine", "engine API", "clock of engine"),
}


def checks(result: Result) -> dict[str, dict]:
    return {item["check"]: item for item in result.json["items"]}


def ask(stack, *flags: str) -> Result:
    return stack.ask("doctor", "--engine", stack.engine.address, *flags, "-o", "json")


def assert_failed(result: Result, check: str, *words: str) -> None:
    found = checks(result)
    assert result.code == 1, result
    assert {name for name, item in found.items() if item["result"] == "failed"} == {check}, result
    assert found[check]["advice"], "it says what to do"
    said = found[check]["detail"] + found[check]["advice"]
    assert all(word in said for word in words), found[check]
    assert check in result.err and len(result.err.splitlines()) == 1, result


def test_all_is_well(stack):
    result = ask(stack)
    assert result.code == 0 and result.err == "", result
    found = checks(result)
    assert found.keys() == CHECKS and len(result.json["items"]) == len(CHECKS), found.keys() ^ CHECKS
    assert {item["result"] for item in found.values()} == {"ok"}, result
    table = stack.ask("doctor", "--engine", stack.engine.address)
    assert table.code == 0 and table.out.splitlines()[0].split()[:2] == ["CHECK", "RESULT"], table


def test_nats_away(stack):
    assert_failed(ask(stack, "--nats", f"nats://127.0.0.1:{free_port()}"), "nats", "cannot reach", "--nats")


def test_nats_too_old(stack):
    with OldNats() as nats:
        assert_failed(ask(stack, "--nats", nats.url), "nats", nats.version, "2.14")


def test_jetstream_off(stack, tmp_path):
    port = free_port()
    server = Process("nats-server", [tool("nats-server"), "-a", "127.0.0.1", "-p", str(port)], tmp_path).start()
    try:
        eventually(lambda: listening(port), 20, "nats-server is up")
        assert_failed(ask(stack, "--nats", f"nats://127.0.0.1:{port}"), "jetstream", "-js")
    finally:
        server.stop()


def test_redis_away(stack):
    assert_failed(ask(stack, "--redis", f"redis://127.0.0.1:{free_port()}"), "redis", "cannot reach", "--redis")


def test_redis_too_old(stack):
    with OldRedis() as redis:
        assert_failed(ask(stack, "--redis", redis.url), "redis", redis.version, "7.0")


def test_redis_read_only(own_stack):
    client = own_stack.redis.client()
    client.replicaof("127.0.0.1", free_port())
    assert_failed(ask(own_stack), "redis writes", "primary")
    client.replicaof("NO", "ONE")


def test_keys_that_would_vanish(stack):
    client = stack.redis.client()
    try:
        client.config_set("maxmemory-policy", "allkeys-lru")
        result = ask(stack)
        assert result.code == 0 and checks(result)["redis eviction"]["result"] == "warning", result
        client.config_set("maxmemory", "1gb")
        assert_failed(ask(stack), "redis eviction", "allkeys-lru", "noeviction")
    finally:
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")


def test_a_redis_of_another_time(stack, tmp_path):
    lie = {rb"\*2\r\n\$10\r\n(\d{10})\r\n": b"4070908800"}
    with Liar(tmp_path / "redis.sock", f"tcp://127.0.0.1:{stack.redis.port}", lie) as liar:
        assert_failed(ask(stack, "--redis", liar.address), "clock of redis", "ahead", "chrony")


def test_a_producer_of_another_version(stack):
    result = bus.while_served(stack.nats.url, "deckwatch-another", "99.0.0", lambda: ask(stack))
    assert_failed(result, "versions", "another", "99.0.0", "minor")


def test_nothing_of_deckwatch_there(stack):
    """It is no failure where nobody has begun yet; a newer schema is one."""
    result = ask(stack, "--prefix", "another")
    warned = {name: item for name, item in checks(result).items() if item["result"] != "ok"}
    assert result.code == 0 and warned.keys() == {"streams", "versions", "redis schema", "picture"}, result
    assert all(item["advice"] for item in warned.values()), result
    stack.store.client.hset("another:meta", "schema", 99)
    assert_failed(ask(stack, "--prefix", "another"), "redis schema", "99", "newer")


def test_parts_that_do_not_belong_together(own_stack):
    """While no role works, which would refuse or mend it."""
    for role in own_stack.roles:
        role.stop()
    own_stack.store.client.hset("deckwatch:meta", "partitions", 8)
    result = ask(own_stack)
    assert_failed(result, "partitions", "8")
    assert checks(result)["versions"]["result"] == "warning", "no producer is heard"
    own_stack.store.client.hset("deckwatch:meta", "partitions", 1)
    bus.delete_stream(own_stack.nats.url, "DECKWATCH_DEAD")
    assert_failed(ask(own_stack), "streams", "DECKWATCH_DEAD", "sequencer")


def test_an_engine_without_permission(stack):
    # Where anybody may read and run it.
    folder = Path(tempfile.mkdtemp(prefix="deckwatch-doctor-"))
    try:
        folder.chmod(0o755)
        binary = Path(shutil.copy(BINARY, folder))
        argv = [binary, "doctor", "--nats", stack.nats.url, "--redis", stack.redis.url, "-o", "json"]
        argv += ["--engine", stack.engine.address]
        run = subprocess.run(argv, capture_output=True, text=True, timeout=30, user=NOBODY, group=NOBODY, env=environment())
    finally:
        shutil.rmtree(folder)
    engine = next(item for item in json.loads(run.stdout)["items"] if item["check"] == "engine")
    assert run.returncode == 1 and engine["result"] == "failed", run
    assert "denied" in engine["detail"] and engine["advice"], engine


@pytest.mark.parametrize(
    ("lie", "text", "check", "word"),
    [
        (rb'"SystemTime":"(\d{4})-', b"2099", "clock of engine", "chrony"),
        (rb'"ApiVersion":"(1\.\d\d)"', b"1.24", "engine API", "too old"),
    ],
    ids=["clock", "version"],
)
def test_an_engine_of_another_time(stack, tmp_path, lie, text, check, word):
    with Liar(tmp_path / "engine.sock", stack.engine.address, {lie: text}) as liar:
        assert_failed(stack.ask("doctor", "--engine", liar.address, "-o", "json"), check, word)
