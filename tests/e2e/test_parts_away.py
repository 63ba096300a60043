"""A part stands still or is gone: `ps` says that its picture is not current, until the part is back."""

import signal
import time

import pytest

from harness.engine import STUBBORN
from harness.wait import eventually

# Of the installation's heartbeat of one second. At the usual heartbeat of 5 s it is 20 s.
NOT_CURRENT_WITHIN = 4
# For a command to begin and end on a loaded machine.
COMMAND = 2


@pytest.fixture(params=["sequencer", "projector", "nats"])
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
