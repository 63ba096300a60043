"""`deckwatch bench`: its figures add up, and nothing is left of it."""

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

from harness import tree
from harness.connection import connection
from harness.paths import BINARY, environment
from harness.process import Process
from harness.program import deckwatch, on_terminals
from harness.servers import NatsServer, RedisServer
from harness.wait import eventually

ROLES = {"producers", "sequencer", "projector", "reconciler"}
# Of a fleet that is small, and looked at often.
SMALL = ["--nodes", 5, "--containers", 4, "--seconds", 1, "--heartbeat", "1s", "--interval", "1s"]


def assert_adds_up(report: dict, nodes: int, containers: int) -> None:
    assert (report["nodes"], report["containers_per_node"]) == (nodes, containers)
    load, latency = report["load"], report["latency"]
    assert load["events_sent"] == load["events_stored"] > 0
    assert load["events_per_second"] == pytest.approx(load["events_stored"] / load["seconds"])
    assert latency["samples"] > 0
    assert 0 < latency["p50_seconds"] <= latency["p99_seconds"] <= latency["p999_seconds"] <= latency["max_seconds"] < 60
    assert 0 < latency["resolution_seconds"] <= latency["max_seconds"]
    for part in report["parts"]:
        # The clock of processes ticks a hundred times a second: so little a load can cost a role less than a tick.
        assert part["cpu_seconds_per_million_events"] >= 0, part
        assert 0 <= part["cores_at_rest"] < os.cpu_count(), part
        assert 1 << 20 < part["memory_bytes"] < 8 << 30, part
    for name in ("sequencer", "projector"):
        assert parts(report)[name]["cpu_seconds_per_million_events"] > 0, "each handles every event"
    ceiling, ratio = report["ceiling"], report["ratio"]
    assert ceiling["record_bytes"] > 100
    for alone, through in {
        "publish_singles_per_second": "publish_singles",
        "publish_batches_per_second": "publish_batches",
        "hset_per_second": "hset",
    }.items():
        assert ceiling[alone] > 0
        assert ratio[through] == pytest.approx(load["events_per_second"] / ceiling[alone])
    assert ceiling["publish_batches_per_second"] > ceiling["publish_singles_per_second"]


def parts(report: dict) -> dict[str, dict]:
    return {part["name"]: part for part in report["parts"]}


def test_servers_that_run_already_are_used_and_left_as_they_were(binary, tmp_path):
    nats, redis = NatsServer(tmp_path), RedisServer(tmp_path)
    nats.start()
    redis.start()
    try:
        redis.client().set("deckwatch:meta", "somebody's")
        flags = ["--nats", nats.url, "--redis", redis.url, "--data-dir", tmp_path / "data", "-o", "json"]
        result = deckwatch("bench", *SMALL, *flags, within=60)
        assert result.code == 0, result
        assert_adds_up(result.json, 5, 4)
        assert parts(result.json).keys() == {*ROLES, "redis"}, "nats-server is not its own: it cannot be asked"
        calls = redis.client().info("commandstats")
        assert calls["cmdstat_fcall"]["calls"] > 0
        assert calls["cmdstat_hset"]["calls"] > 0, "as the functions do it"
        assert calls["cmdstat_hmset"]["calls"] >= result.json["ceiling"]["hset_per_second"], "a second of it, alone"
        assert redis.client().keys() == ["deckwatch:meta"] and redis.client().function_list() == []
        assert asyncio.run(streams(nats.url)) == []
        assert list((tmp_path / "data").iterdir()) == []
    finally:
        nats.process.stop()
        redis.process.stop()


async def streams(url: str) -> list[str]:
    async with connection(url) as client:
        return [stream.config.name for stream in await client.jetstream().streams_info()]


def test_what_people_see(binary, tmp_path):
    result = on_terminals("bench", *SMALL, "--data-dir", tmp_path / "data", within=60)
    assert result.code == 0, result
    for words in ("5 with 4 containers each", "events a second to Redis", "p50 ", "p99 ", "p99.9 "):
        assert words in result.out, result
    for part in {*ROLES, "nats", "redis"}:
        assert re.search(rf"^{part} +[0-9.]+ +[0-9.]+ % +[0-9]+ MiB\r$", result.out, re.MULTILINE), (part, result)
    for alone in ("records, acknowledged one by one", "records in atomic batches", "hashes in pipelines"):
        assert re.search(rf"^{alone} +[0-9,]+ +[0-9]+ %\r$", result.out, re.MULTILINE), (alone, result)
    drawn = re.findall(r"\r\x1b\[K\[(#*) *\] what it costs while nothing happens", result.err)
    assert len(drawn) > 5 and drawn == sorted(drawn), result
    assert result.err.endswith("\r\x1b[K"), "the bar is taken away in the end"


@pytest.mark.alone
@pytest.mark.timeout(660)
def test_a_thousand_nodes(binary, tmp_path, capsys):
    nodes, containers = 1000, 50
    flags = ["--nodes", nodes, "--containers", containers, "--seconds", 2, "--data-dir", tmp_path / "data"]
    result = deckwatch("bench", *flags, "-o", "json", within=600)
    assert result.code == 0, result
    with capsys.disabled():
        print(figures(result.json))
    assert_adds_up(result.json, nodes, containers)
    found = parts(result.json)
    assert found.keys() == {*ROLES, "nats", "redis"}
    assert 0 < found["reconciler"]["cores_at_rest"] < 1
    assert found["redis"]["memory_bytes"] > nodes * containers * 500


def figures(report: dict) -> str:
    """What each part takes while nothing happens, as a table."""
    lines = ["", f"{report['nodes']} nodes with {report['containers_per_node']} containers each, at rest"]
    for part in report["parts"]:
        lines.append(f"{part['name']:12}{part['cores_at_rest']:8.2%} of a core{part['memory_bytes'] / 2**20:8.0f} MiB")
    return "\n".join(lines)


@pytest.fixture
def bench(binary, tmp_path):
    flags = ["--nodes", "3", "--containers", "3", "--seconds", "60", "--data-dir", str(tmp_path / "data")]
    process = Process("bench", [str(BINARY), "bench", *flags], tmp_path, environment()).start()
    eventually(lambda: len(tree.descendants(process.pid)) == 5, 20, "two servers and three roles run")
    children = tree.descendants(process.pid)
    yield process, children
    print(process.tail())
    if process.running:
        process.kill()
    for pid in tree.still_there(children):
        os.kill(pid, signal.SIGKILL)


def assert_nothing_is_left(children: dict[int, str], data: Path) -> None:
    assert not tree.still_there(children) and not tree.naming(str(data))
    assert list(data.iterdir()) == []


def test_ctrl_c(bench, tmp_path):
    process, children = bench
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == 1
    assert "interrupted" in process.stderr.read_text() and process.stdout.read_text() == ""
    assert_nothing_is_left(children, tmp_path / "data")


def test_a_part_that_ends_by_itself(bench, tmp_path):
    process, children = bench
    sequencer = next(pid for pid in children if "sequencer" in Path(f"/proc/{pid}/cmdline").read_text())
    os.kill(sequencer, signal.SIGKILL)
    assert process.wait(20) == 1
    assert "the sequencer ended by itself" in process.stderr.read_text()
    assert_nothing_is_left(children, tmp_path / "data")
