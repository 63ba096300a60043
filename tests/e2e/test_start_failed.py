"""A start that fails: the engine emits neither `start` nor `die`, and the picture is right all the same."""

import time

import pytest
from docker.errors import APIError

from harness.listener import Listener
from harness.wait import promised


@pytest.fixture
def failed(stack, containers):
    """A container whose start failed, the engine's own word on it, and when it had failed."""
    with Listener(containers.address) as listener:
        container = containers.create(["foo"])
        with pytest.raises(APIError):
            container.start()
        since = time.monotonic()
        yield container, since
    actions = [action for container_id, action, _ in listener.events if container_id == container.id]
    assert "create" in actions and not {"start", "die"} & set(actions), "this engine is not the one this is about"


def assert_failed_start(state, truth):
    assert state is not None, "absent"
    found = (state.get("status"), state.get("exit_code"), state.get("error"), state.get("stop_cause"))
    assert found == ("start_failed", 127, truth["error"], "start_failed"), found
    return True


def test_everywhere_within_two_seconds(stack, containers, failed):
    container, since = failed
    truth = containers.state(container, stack.node)
    assert (truth["status"], truth["exit_code"]) == ("start_failed", 127) and "foo" in truth["error"]

    promised(lambda: assert_failed_start(stack.store.state(container.id), truth), 2, "start_failed in Redis", since)

    def in_ps():
        items = stack.ask("ps", "-o", "json").json["items"]
        return assert_failed_start(next((item for item in items if item["id"] == container.id), None), truth)

    promised(in_ps, 2, "start_failed in ps", since)

    def on_subject():
        entries = stack.of_container(container)
        assert entries, "no record"
        return assert_failed_start(entries[-1].state, truth)

    promised(on_subject, 2, "start_failed on the subject", since)
    stack.wait_settled()


def test_a_failed_start_of_one_that_ran_before(stack, containers):
    """It reads `exited`, as the engine says, and its stop cause is the failed start."""
    container = containers.create(["/once"])
    containers.put(container, "/once", b"#!/bin/sh\nrm /once\n", executable=True)
    container.start()
    containers.wait_for(container, "exited")
    with pytest.raises(APIError):
        container.start()
    truth = containers.state(container, stack.node)
    assert truth["status"] == "exited" and "error" in truth

    def exited_by_a_failed_start():
        state = stack.store.state(container.id)
        found = (state["status"], state.get("stop_cause"), state.get("error"), state.get("exit_code"))
        assert found == ("exited", "start_failed", truth["error"], truth["exit_code"]), found
        return True

    promised(exited_by_a_failed_start, 2, "the failed start in Redis")
    stack.wait_settled()
