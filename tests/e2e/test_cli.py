"""The commands that ask: tables and JSON, filters, revisions, exit codes."""

import re

import pytest

from harness import bus
from harness.engine import OBEDIENT, STUBBORN
from harness.program import deckwatch
from harness.state import FIELDS, FROM_ENGINE, differences, from_json
from harness.wait import eventually
from harness.watch import Watch, of

REVISION = re.compile(r"\d+:\d+\.[0-9a-f]{1,16}(,\d+:\d+\.[0-9a-f]{1,16})*(\+[A-Za-z0-9_-]+=\d+)*")

WEB = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
DATABASE = {"com.docker.compose.project": "shop", "com.docker.compose.service": "db"}


@pytest.fixture
def fleet(stack, containers):
    """A few containers of every kind, by what is special about them."""
    made = {
        "web": containers.run(OBEDIENT, name=f"web-{containers.run_id}", labels=WEB),
        "db": containers.run(STUBBORN, name=f"db-{containers.run_id}", labels=DATABASE),
        "crashed": containers.run(["sh", "-c", "exit 3"], name=f"crashed-{containers.run_id}", labels=WEB),
        "created": containers.create(STUBBORN, name=f"created-{containers.run_id}"),
    }
    made["crashed"].wait()
    stack.wait_settled()
    return made


def answered(result) -> dict:
    """A list in JSON that is current."""
    assert result.code == 0 and result.err == "", result
    answer = result.json
    assert set(answer) == {"revision", "items"}, result
    assert REVISION.fullmatch(answer["revision"]), answer["revision"]
    return answer


def names(result) -> set[str]:
    return {item["name"] for item in answered(result)["items"]}


def test_ps_says_what_the_engine_says(stack, fleet):
    items = {item["id"]: from_json(item) for item in answered(stack.ask("ps", "-o", "json"))["items"]}
    truth = stack.engine.states(stack.node)
    assert items.keys() == truth.keys()
    stored = stack.store.states()
    for container_id, item in items.items():
        assert not differences(item, truth[container_id], FROM_ENGINE)
        assert not differences(item, stored[container_id], FIELDS)


def test_ps_as_a_table(stack, fleet):
    result = stack.ask("ps")
    assert result.code == 0 and result.err == "", result
    heading, *rows = result.out.splitlines()
    assert "STATUS" in heading.upper() and "\x1b" not in result.out
    for what, container in fleet.items():
        (row,) = [row for row in rows if container.name in row]
        assert container.id[:12] in row and stack.node in row
        assert {"web": "running", "db": "running", "crashed": "exited", "created": "created"}[what] in row


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--status", "running"], {"web", "db"}),
        (["--status", "exited"], {"crashed"}),
        (["--project", "shop"], {"web", "db", "crashed"}),
        (["--service", "web"], {"web", "crashed"}),
        (["--service", "web", "--status", "running"], {"web"}),
        (["--node", "another"], set()),
        (["--project", "nothing"], set()),
    ],
)
def test_filters(stack, fleet, filters, expected):
    mine = {container.name: what for what, container in fleet.items()}
    found = names(stack.ask("ps", "-o", "json", *filters))
    assert {mine[name] for name in found if name in mine} == expected
    if "--node" in filters or "nothing" in filters:
        assert not found


def test_filter_by_name(stack, fleet):
    name = fleet["db"].name
    assert names(stack.ask("ps", "-o", "json", "--name", name, "--node", stack.node)) == {name}


def test_nodes(stack, fleet):
    (node,) = answered(stack.ask("nodes", "-o", "json"))["items"]
    assert (node["name"], node["status"], node["epoch"]) == (stack.node, "alive", 1)
    truth = stack.engine.states(stack.node).values()
    assert (node["containers"], node["running"]) == (len(truth), sum(state["status"] == "running" for state in truth))
    assert node["engine_id"] == stack.engine.client.info()["ID"]
    table = stack.ask("nodes").out
    assert stack.node in table and "alive" in table


def test_services(stack, fleet):
    items = answered(stack.ask("services", "-o", "json", "--project", "shop"))["items"]
    counted = {
        (item["project"], item["service"]): [
            item[name] for name in ("containers", "running", "unhealthy", "failed", "nodes")
        ]
        for item in items
    }
    assert counted == {("shop", "web"): [2, 1, 0, 1, 1], ("shop", "db"): [1, 1, 0, 0, 1]}
    table = stack.ask("services").out
    assert "web" in table and "db" in table


def test_inspect(stack, fleet):
    container = fleet["web"]
    truth = stack.engine.state(container, stack.node)
    for word in (container.id, container.id[:16], container.name):
        result = stack.ask("inspect", word, "-o", "json")
        assert result.code == 0 and result.err == "", result
        state = from_json(result.json)
        assert not differences(state, truth, FROM_ENGINE)
        assert not differences(state, stack.store.state(container.id), FIELDS)
    plain = stack.ask("inspect", container.name)
    assert plain.code == 0 and container.id in plain.out and "running" in plain.out


@pytest.mark.parametrize("command", ["inspect", "history"])
def test_a_container_that_nobody_knows(stack, command):
    result = stack.ask(command, "no-such-container")
    assert result.code in (1, 3) and result.out == "", result
    assert len(result.err.splitlines()) == 1 and "no-such-container" in result.err, result


def test_history_outlives_the_container(stack, containers):
    container = containers.run(["sh", "-c", "exit 7"])
    container.wait()
    stack.wait_settled()

    def actions() -> list[str]:
        result = stack.ask("history", container.id, "-o", "json")
        assert result.code == 0 and result.err == "", result
        assert all(line["type"] == "container" and line["node"] == stack.node for line in result.lines)
        return [line["event"]["action"] for line in result.lines if "event" in line]

    # The state may be settled before its last event is told.
    eventually(lambda: actions() == ["create", "start", "die"], 15, "its end is in the history")
    container.remove()
    eventually(lambda: actions() == ["create", "start", "die", "destroy"], 15, "the removal is in the history")
    last = stack.ask("history", container.id, "-o", "json").lines[-1]["container"]
    assert (last["status"], last["exit_code"], last["stop_cause"]) == ("removed", 7, "crashed")
    plain = stack.ask("history", container.id).out
    assert [plain.index(word) for word in ("create", "start", "die", "destroy")] == sorted(
        plain.index(word) for word in ("create", "start", "die", "destroy")
    )


def test_list_then_watch_has_no_hole(stack, containers):
    """Promise 10: what is watched from a list's revision on is everything after it, each once, from any place in it."""
    before = containers.run(STUBBORN)
    stack.wait_settled()
    revision = answered(stack.ask("ps", "-o", "json"))["revision"]
    with Watch(stack, "watch-all", "--from", revision) as watch:
        container = containers.run(["sh", "-c", "exit 3"])
        container.wait()
        watch.wait_for(container, "exited")
        container.remove()
        lines = watch.wait_for(container, "removed")
    assert not any(of(line, before) for line in lines), "what the list had is repeated"
    stored = stack.of_container(container)
    assert [line["event"]["action"] for line in lines if of(line, container)] == [entry.action for entry in stored]
    for line, entry in zip((line for line in lines if of(line, container)), stored, strict=True):
        assert not differences(from_json(line["container"]), entry.state, FIELDS)
        assert line["cause"] == "event" and line["node"] == stack.node
        assert REVISION.fullmatch(line["revision"])
    assert len({line["revision"] for line in lines}) == len(lines)

    middle = len(lines) // 2
    with Watch(stack, "watch-again", "--from", lines[middle]["revision"]) as again:
        again.wait_for(container, "removed")
        assert again.lines[: len(lines) - middle - 1] == lines[middle + 1 :]


def test_watch_without_a_revision_tells_new_things_only(stack, containers):
    old = containers.run(STUBBORN)
    stack.wait_settled()
    with Watch(stack, "watch-new") as watch:
        # It says nothing until something happens: what happens must come again until it is heard.
        new = containers.run(STUBBORN)

        def heard():
            new.pause()
            new.unpause()
            return watch.lines

        eventually(heard, 15, "watch tells something")
        assert not any(of(line, old) for line in watch.lines)


def test_watch_with_a_filter(stack, containers):
    revision = answered(stack.ask("ps", "-o", "json"))["revision"]
    with Watch(stack, "watch-web", "--from", revision, "--service", "web") as watch:
        containers.run(STUBBORN)
        web = containers.run(STUBBORN, labels=WEB)
        lines = watch.wait_for(web, "running")
    assert lines and all(of(line, web) for line in lines)


def test_watch_as_text(stack, containers):
    revision = answered(stack.ask("ps", "-o", "json"))["revision"]
    container = containers.run(["sh", "-c", "exit 3"])
    container.wait()
    stack.wait_settled()
    watch = stack.ask_process("watch-text", "watch", "--from", revision)
    eventually(lambda: " die" in watch.stdout.read_text(), 15, "watch tells it in words")
    assert watch.stop(10) == 0
    (line,) = [line for line in watch.stdout.read_text().splitlines() if " die" in line and container.name in line]
    assert stack.node in line and "exited" in line and "crashed" in line


@pytest.mark.parametrize("revision", ["yesterday", "0:x.y", ""])
def test_a_revision_that_is_none_is_wrong_usage(stack, revision):
    result = stack.ask("watch", "--from", revision)
    assert result.code == 2 and result.out == "" and len(result.err.splitlines()) == 1, result


def test_a_revision_of_another_stream_is_refused(stack):
    """The record at that sequence has another writer, or there is none: the stream was cut, restored or made anew."""
    entries = stack.entries()
    other = entries[-1].record.writer ^ 1
    for revision in (f"0:{entries[-1].sequence}.{other:016x}", f"0:{10**9}.{entries[-1].record.writer:016x}"):
        result = stack.ask("watch", "--from", revision)
        assert result.code == 3 and result.out == "" and len(result.err.splitlines()) == 1, result


def test_a_revision_that_is_too_old_is_refused(own_stack, containers):
    old = answered(own_stack.ask("ps", "-o", "json"))["revision"]
    container = containers.run(["true"])
    container.wait()
    entries, _ = own_stack.wait_settled()
    bus.trim(own_stack.nats.url, "DECKWATCH_STATE_0", below=entries[-1].sequence)
    result = own_stack.ask("watch", "--from", old)
    assert result.code == 3 and result.out == "" and len(result.err.splitlines()) == 1, result

    def revision_that_is_kept() -> str:
        """The place in a list's revision moves on with the heartbeat."""
        revision = answered(own_stack.ask("ps", "-o", "json"))["revision"]
        assert int(revision.split(":")[1].split(".")[0]) >= entries[-1].sequence, revision
        return revision

    now = eventually(revision_that_is_kept, 20, "a list from which one can watch")
    with Watch(own_stack, "watch-now", "--from", now) as watch:
        container.remove()
        watch.wait_for(container, "removed")


def test_ps_says_when_the_picture_is_not_current(own_stack, containers):
    """The projector stands still: after three heartbeats nobody vouches for what is in Redis."""
    containers.run(STUBBORN)
    own_stack.wait_settled()
    own_stack.projector.kill()

    def not_current():
        result = own_stack.ask("ps", "-o", "json")
        assert result.code == 0, result
        assert result.json["revision"] is None and len(result.err.splitlines()) == 1, result
        return result

    result = eventually(not_current, 60, "ps says that nothing is current")
    assert {item["id"] for item in result.json["items"]} == set(own_stack.engine.states(own_stack.node))
    own_stack.projector.start()
    eventually(lambda: own_stack.ask("ps", "-o", "json").json["revision"], 30, "ps is current again")
    own_stack.wait_settled()


COMMANDS = (
    "up producer sequencer projector reconciler ps nodes services inspect watch history gaps verify forget doctor"
    " healthcheck bench"
).split()
# What a shell is told for each command.
COMPLETES = {"bash": "deckwatch,{})", "zsh": "'{}:", "fish": '-f -a "{}"'}


@pytest.mark.parametrize("shell", COMPLETES)
def test_shell_completions(binary, shell):
    result = deckwatch("completions", shell)
    assert result.code == 0 and result.err == "", result
    lacking = {command for command in COMMANDS if COMPLETES[shell].format(command) not in result.out}
    assert not lacking, result


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_flags_environment_variable(binary, command):
    result = deckwatch(command, "--help")
    assert result.code == 0 and result.err == "", result
    flags = set(re.findall(r"^\s+(?:-\w, )?--([a-z][a-z-]*)", result.out, re.MULTILINE)) - {"help", "version"}
    assert flags
    lacking = {flag for flag in flags if f"DECKWATCH_{flag.upper().replace('-', '_')}" not in result.out}
    assert not lacking, f"without an environment variable in --help: {lacking}"


def test_help_names_every_command(binary):
    result = deckwatch("--help")
    assert result.code == 0 and all(re.search(rf"^\s+{command}\b", result.out, re.M) for command in COMMANDS), result
