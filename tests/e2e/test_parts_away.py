"""A part stands still or is gone: `ps` says that its picture is not current, until the part is back."""

import signal
import time
from contextlib import ExitStack

import pytest

from harness.engine import STUBBORN
from harness.stack import Stack
from harness.wait import eventually

PARTS = ["sequencer", "projector", "nats"]
# Of an installation's heartbeat of one second.
NOT_CURRENT_WITHIN = 4
# With the usual settings, as it is promised.
USUALLY_WITHIN = 20
# For a command to begin and end on a loaded machine.
COMMAND = 2


@pytest.fixture(params=PARTS)
def part(request, brisk_stack):
    """One part of the installation: a role or a server."""
    return getattr(brisk_stack, request.param)


def stand_still(part):
    part.process.signal(signal.SIGSTOP)
    return lambda: part.process.signal(signal.SIGCONT)


def kill(part):
    part.kill()
    return part.start


@pytest.mark.parametrize("away", [stand_still, kill])
def test_ps_says_so(brisk_stack, containers, part, away):
    stack = brisk_stack
    stays = containers.run(STUBBORN)
    eventually(lambda: is_current(stack), 20, "ps is current")
    stack.wait_equal()

    since = time.monotonic()
    back = away(part)
    try:
        eventually(lambda: is_not_current(stack), NOT_CURRENT_WITHIN + COMMAND, "ps is not current", since)
        meanwhile = containers.run(STUBBORN)
        assert stays.id in shown(stack), "the last picture is still shown"
        assert is_not_current(stack), "it does not become current by itself"
    finally:
        back()
    eventually(lambda: is_current(stack), 20, "ps is current again")
    stack.wait_settled()
    assert {stays.id, meanwhile.id} <= shown(stack)


@pytest.fixture
def usual(tmp_path_factory, engine, binary):
    """Installations with the usual settings, each by the part that is to be away from it."""
    with ExitStack() as stay:
        stacks = {name: Stack(tmp_path_factory.mktemp(name), engine) for name in PARTS}
        for stack in stacks.values():
            stay.callback(stack.stop)
            stack.launch()
        yield stacks


def test_ps_says_so_with_the_usual_settings(usual, containers):
    """All parts at the same time, each of another installation."""
    stays = containers.run(STUBBORN)
    for stack in usual.values():
        eventually(lambda stack=stack: is_current(stack), 30, "ps is current")
        stack.wait_equal()

    since = {}
    try:
        for name, stack in usual.items():
            since[name] = time.monotonic()
            getattr(stack, name).process.stop()
        for name, stack in usual.items():
            within, what = USUALLY_WITHIN + COMMAND, f"ps is not current without its {name}"
            eventually(lambda stack=stack: is_not_current(stack), within, what, since[name])
        meanwhile = containers.run(STUBBORN)
        assert all(stays.id in shown(stack) for stack in usual.values()), "the last picture is still shown"
    finally:
        for name in since:
            getattr(usual[name], name).start()
    for stack in usual.values():
        eventually(lambda stack=stack: is_current(stack), 20, "ps is current again")
        stack.wait_settled()
        assert {stays.id, meanwhile.id} <= shown(stack)


def is_current(stack) -> bool:
    plain, listed = stack.ask("ps"), stack.ask("ps", "-o", "json")
    assert (plain.code, listed.code) == (0, 0), listed
    assert plain.err == "" and listed.err == "" and listed.json["revision"], listed
    return True


def is_not_current(stack) -> bool:
    """It says so on stderr, and answers all the same."""
    plain, listed = stack.ask("ps"), stack.ask("ps", "-o", "json")
    assert (plain.code, listed.code) == (0, 0), listed
    for result in (plain, listed):
        assert len(result.err.splitlines()) == 1 and "not current" in result.err, result
    assert listed.json["revision"] is None, listed
    return True


def shown(stack) -> set[str]:
    return {item["id"] for item in stack.ask("ps", "-o", "json").json["items"]}
