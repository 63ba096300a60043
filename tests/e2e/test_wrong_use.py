"""Wrong use and servers that are away or too old: one line that says what to do, the right exit code, no hanging."""

import signal
import socket

import pytest

from harness import http
from harness.old import OldNats, OldRedis
from harness.paths import BINARY, environment
from harness.ports import free_port
from harness.process import Process
from harness.program import Result, deckwatch
from harness.servers import NatsServer, RedisServer
from harness.wait import eventually

ASKS = 10  # seconds after which a question, and `up` while it starts, gives up
STARTS = 5  # seconds a loaded machine may add to start and end a program

ROLES = {
    "producer": ["producer", "--node", "n1"],
    "sequencer": ["sequencer"],
    "projector": ["projector"],
    "reconciler": ["reconciler"],
}


@pytest.fixture
def nowhere():
    """An address at which nobody listens."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def run(tmp_path, binary):
    """Runs the program with a data folder of the test's own."""
    return lambda *argv, **options: deckwatch(*argv, env={"DECKWATCH_DATA_DIR": str(tmp_path / "data")}, **options)


@pytest.fixture
def servers(tmp_path):
    nats, redis = NatsServer(tmp_path), RedisServer(tmp_path)
    nats.start()
    redis.start()
    yield nats, redis
    nats.process.stop()
    redis.process.stop()


def assert_says(result: Result, codes: int | tuple[int, ...], *words: str, within: float = ASKS) -> None:
    """It ended in time with this exit code; one line on stderr names what was wrong; stdout is empty."""
    codes = codes if isinstance(codes, tuple) else (codes,)
    assert result.code in codes, result
    assert result.seconds < within + STARTS, result
    print(f"{' '.join(result.argv)}\n{result.code} after {result.seconds:.1f} s: {result.err.strip()}")
    assert result.out == "", result
    assert len(result.err.splitlines()) == 1, result
    assert_helps(result.err, words)


def assert_helps(line: str, words: tuple[str, ...]) -> None:
    assert "panicked" not in line and "RUST_BACKTRACE" not in line and "Error {" not in line, line
    for word in words:
        assert word.lower() in line.lower(), f"{word!r} is not named: {line}"


def assert_role_ends(role: Process, *words: str) -> None:
    """What waiting cannot heal: it exits 1, and its last line on stderr says why."""
    code = role.wait(ASKS + STARTS)
    lines = role.stderr.read_text().splitlines()
    assert code == 1 and lines, role.tail()
    print(f"{code}: {lines[-1]}")
    assert_helps(lines[-1], words)
    assert "panicked" not in role.stderr.read_text(), role.tail()


# --- said before any socket opens: exit code 2 ---


@pytest.mark.parametrize("command", ["ps", "up", "producer", "sequencer", "projector", "watch"])
def test_unknown_flag(run, command):
    assert_says(run(command, "--no-such-flag"), 2, "--no-such-flag")


def test_unknown_command(run):
    assert_says(run("no-such-command"), 2, "no-such-command")


@pytest.mark.parametrize("name", ["a b", "a.b", "", "*", "é", "x" * 64])
@pytest.mark.parametrize("command", ["producer", "up"])
def test_bad_node_name(run, command, name):
    assert_says(run(command, "--node", name), 2, "--node")


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["sequencer", "--nats", "http://127.0.0.1:4222"], "nats"),
        (["sequencer", "--nats", "nats://127.0.0.1:port"], "nats"),
        (["projector", "--redis", "http://127.0.0.1:6379"], "redis"),
        (["ps", "--redis", "redis://127.0.0.1:port"], "redis"),
        (["watch", "--nats", "://"], "nats"),
        (["producer", "--engine", "gopher://127.0.0.1"], "engine"),
        (["up", "--engine", "not an address"], "engine"),
        (["producer", "--engine", "ssh://-oProxyCommand=x"], "engine"),
        (["reconciler", "--engine", "tcp://127.0.0.1:2375"], "whose engine"),
        (["reconciler", "--engine", "n1=tcp://h:1", "--engine", "n1=tcp://h:2"], "n1"),
        (["sequencer", "--admin", "not an address"], "admin"),
        (["sequencer", "--partitions", "0"], "partitions"),
        (["sequencer", "--heartbeat", "soon"], "heartbeat"),
        (["ps", "--status", "sleeping"], "status"),
        (["ps", "--prefix", "Not.A.Prefix"], "prefix"),
    ],
)
def test_bad_value(run, argv, word):
    assert_says(run(*argv), 2, word, within=STARTS)


def test_bad_value_in_the_environment(tmp_path, binary):
    assert_says(deckwatch("sequencer", env={"DECKWATCH_NATS": "http://x"}), 2, "nats", within=STARTS)


@pytest.mark.parametrize("command", [["up"], ["producer", "--node", "n1"]])
def test_data_dir_that_cannot_be_written(tmp_path, run, command):
    """Below a regular file nobody can make a folder, not even root."""
    (tmp_path / "file").write_text("")
    assert_says(run(*command, "--data-dir", str(tmp_path / "file" / "data")), 2, "data", str(tmp_path / "file"))


# --- a question that cannot be answered: exit code 3 ---


@pytest.mark.parametrize("command", [["ps"], ["nodes"], ["services"], ["inspect", "x"], ["ps", "-o", "json"], ["verify"]])
def test_no_redis_to_ask(run, nowhere, command):
    assert_says(run(*command, "--redis", f"redis://{nowhere}"), 3, "redis", nowhere)


@pytest.mark.parametrize("command", [["watch"], ["history", "x"], ["gaps"], ["forget", "n1"]])
def test_no_nats_to_ask(run, nowhere, command):
    assert_says(run(*command, "--nats", f"nats://{nowhere}"), 3, "nats", nowhere)


def test_no_nats_to_verify_with(run, servers, nowhere):
    _, redis = servers
    assert_says(run("verify", "--redis", redis.url, "--nats", f"nats://{nowhere}"), 3, "nats", nowhere)


@pytest.mark.parametrize("command", ["ps", "watch"])
def test_a_server_that_accepts_and_never_answers(run, command):
    """The kernel accepts, and nobody is there."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        flags = ["--redis", f"redis://{address}"] if command == "ps" else ["--nats", f"nats://{address}"]
        assert_says(run(command, *flags), 3)


def test_too_old_to_ask(run):
    with OldRedis() as redis:
        assert_says(run("ps", "--redis", redis.url), (1, 3), redis.version, "7.0")
    with OldNats() as nats:
        assert_says(run("watch", "--nats", nats.url), (1, 3), nats.version, "2.14")


def test_nothing_of_deckwatch_there(run, servers):
    """Servers that work and that no deckwatch ever wrote to."""
    nats, redis = servers
    result = run("ps", "--redis", redis.url, "-o", "json")
    assert result.code in (0, 3), result
    if result.code == 0:
        assert result.json == {"revision": None, "items": []} and len(result.err.splitlines()) == 1, result
    assert_says(run("watch", "--nats", nats.url), 3)


# --- `up` gives up ---


@pytest.fixture
def up(run):
    def start(*flags):
        defaults = {"--admin": f"127.0.0.1:{free_port()}", "--nats-port": "0", "--redis-port": "0"}
        # A server that is named is not started, and so has no port to choose.
        given = set(flags) | ({"--nats-port"} if "--nats" in flags else set())
        given |= {"--redis-port"} if "--redis" in flags else set()
        rest = [word for flag, value in defaults.items() if flag not in given for word in (flag, value)]
        return run("up", "--node", "n1", *rest, *flags)

    return start


def assert_up_says(result: Result, codes, *words: str) -> None:
    """Its last line on stderr; what it logged before is its own affair."""
    codes = codes if isinstance(codes, tuple) else (codes,)
    assert result.code in codes and result.seconds < ASKS + STARTS, result
    lines = result.err.splitlines()
    assert lines, result
    print(f"{result.code} after {result.seconds:.1f} s: {lines[-1]}")
    assert_helps(lines[-1], words)
    assert "panicked" not in result.err, result


def test_up_without_an_engine(up, tmp_path):
    assert_up_says(up("--engine", f"unix://{tmp_path}/no.sock"), (1, 3), f"{tmp_path}/no.sock")


def test_up_without_the_nats_that_was_named(up, nowhere, engine):
    assert_up_says(up("--engine", engine.address, "--nats", f"nats://{nowhere}"), (1, 3), "nats", nowhere)


def test_up_without_the_redis_that_was_named(up, nowhere, engine):
    assert_up_says(up("--engine", engine.address, "--redis", f"redis://{nowhere}"), (1, 3), "redis", nowhere)


def test_up_with_servers_that_are_too_old(up, engine):
    with OldNats() as nats:
        assert_up_says(up("--engine", engine.address, "--nats", nats.url), 1, nats.version, "2.14")
    with OldRedis() as redis:
        assert_up_says(up("--engine", engine.address, "--redis", redis.url), 1, redis.version, "7.0")


@pytest.mark.parametrize("flag", ["--admin", "--nats-port", "--redis-port"])
def test_up_with_a_port_that_is_taken(up, engine, flag):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        value = f"127.0.0.1:{port}" if flag == "--admin" else port
        assert_up_says(up("--engine", engine.address, flag, value), 1, port)


# --- roles ---


@pytest.fixture
def role(tmp_path, binary):
    """Starts a role whose other servers are nowhere, unless told otherwise; ends it at the end."""
    started = []

    def start(name: str, *flags: str, **addresses) -> Process:
        nobody = f"127.0.0.1:{free_port()}"
        env = environment(
            DECKWATCH_NATS=addresses.get("nats", f"nats://{nobody}"),
            DECKWATCH_REDIS=addresses.get("redis", f"redis://{nobody}"),
            DECKWATCH_DATA_DIR=str(tmp_path / "data"),
        )
        port = addresses.get("admin") or free_port()
        argv = [str(BINARY), *ROLES[name], "--admin", f"127.0.0.1:{port}", *flags]
        process = Process(f"{name}-{len(started)}", argv, tmp_path, env)
        process.port = port
        started.append(process)
        return process.start()

    yield start
    for process in started:
        process.stop()


def assert_waits(role: Process, *words: str) -> None:
    """It lives, is not ready and says why; told to stop, it ends with 0 at once."""

    def says_why():
        status, reason = http.readiness(role.port)
        assert status == 503, (status, reason)
        for word in words:
            assert word.lower() in reason.lower(), f"{word!r} is not named: {reason}"
        return reason.strip()

    print(eventually(says_why, 15, "not ready, with a reason"))
    assert http.get(role.port, "/livez")[0] == 200
    assert role.running and "panicked" not in role.stderr.read_text(), role.tail()
    role.signal(signal.SIGTERM)
    assert role.wait(10 + STARTS) == 0, role.tail()


@pytest.mark.parametrize("name", ROLES)
def test_a_role_waits_for_nats(role, servers, engine, name):
    _, redis = servers
    flags = ["--engine", engine.address] if name == "producer" else []
    assert_waits(role(name, *flags, redis=redis.url), "nats")


@pytest.mark.parametrize("name", ["projector", "reconciler"])
def test_a_role_waits_for_redis(role, servers, name):
    nats, _ = servers
    assert_waits(role(name, nats=nats.url), "redis")


def test_all_roles_end_while_nats_is_away(own_stack):
    """It was there once: nobody waits for it to be told of the end."""
    own_stack.nats.kill()
    for role in reversed(own_stack.roles):
        eventually(lambda role=role: http.readiness(role.port)[0] == 503, 15, f"{role.process.name} has seen it")
        role.stop()


def test_a_producer_waits_for_its_engine(role, servers, tmp_path):
    nats, _ = servers
    assert_waits(role("producer", "--engine", f"unix://{tmp_path}/no.sock", nats=nats.url), "engine")


@pytest.mark.parametrize("name", ROLES)
def test_a_role_ends_where_nats_is_too_old(role, servers, engine, name):
    _, redis = servers
    flags = ["--engine", engine.address] if name == "producer" else []
    with OldNats() as nats:
        assert_role_ends(role(name, *flags, nats=nats.url, redis=redis.url), nats.version, "2.14")


@pytest.mark.parametrize("name", ["projector", "reconciler"])
def test_a_role_ends_where_redis_is_too_old(role, servers, name):
    nats, _ = servers
    with OldRedis() as redis:
        assert_role_ends(role(name, nats=nats.url, redis=redis.url), redis.version, "7.0")


@pytest.mark.parametrize("name", ROLES)
def test_a_role_whose_port_is_taken(role, servers, engine, name):
    nats, redis = servers
    flags = ["--engine", engine.address] if name == "producer" else []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = role(name, *flags, admin=port, nats=nats.url, redis=redis.url)
        assert_role_ends(process, str(port), "--admin")


def test_another_number_of_partitions_is_refused(role, servers):
    nats, _ = servers
    first = role("sequencer", nats=nats.url)
    eventually(lambda: http.readiness(first.port)[0] == 200, 20, "the sequencer is ready")
    assert first.stop() == 0
    assert_role_ends(role("sequencer", "--partitions", "8", nats=nats.url), "partitions", "8", "1")
