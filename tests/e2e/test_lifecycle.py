"""Every step of a container's life: fields as the engine's inspect has them, steps in order, why it ended."""

from dataclasses import dataclass

import pytest
from docker.types import Healthcheck

from harness.engine import OBEDIENT, STUBBORN
from harness.state import FIELDS, FROM_ENGINE, OF_THE_LOOK, differences
from harness.stream import Entry
from harness.wait import eventually

SECOND = 1_000_000_000


@dataclass
class Life:
    """Looks at one container in all places at once."""

    stack: object
    engine: object
    container: object

    def last_told(self) -> dict:
        """The state in the last record of its subject."""
        told = [entry for entry in self.stack.of_container(self.container) if entry.record.HasField("container")]
        assert told, "nothing on its subject"
        return told[-1].state

    def becomes(self, status: str, stop_cause: str | None = None, within: float = 15) -> dict:
        """Redis equals inspect in every field, the subject's last record equals Redis, and this is what they say."""

        def so():
            truth = self.engine.state(self.container, self.stack.node)
            state = self.stack.store.state(self.container.id)
            assert state is not None, "not in Redis"
            found = differences(state, truth, FROM_ENGINE)
            assert not found, f"Redis, engine: {found}"
            found = differences(state, self.last_told(), FIELDS)
            assert not found, f"Redis, subject: {found}"
            assert (state["status"], state.get("stop_cause")) == (status, stop_cause), state
            assert "observed_at" in state and "status_since" in state, state
            return state

        return eventually(so, within, f"{status}, {stop_cause}")

    def is_gone(self, stop_cause: str, exit_code: int | None, within: float = 15) -> dict:
        """Absent in the engine and in Redis, and the last record is of its removal."""

        def so():
            assert not self.engine.client.containers.list(all=True, filters={"id": self.container.id})
            assert self.stack.store.state(self.container.id) is None, "still in Redis"
            assert not self.stack.redis.client().exists(f"deckwatch:id:{self.container.id}"), "its id is still known"
            state = self.last_told()
            found = (state["status"], state.get("stop_cause"), state.get("exit_code"))
            assert found == ("removed", stop_cause, exit_code), found
            assert "pid" not in state, state
            return state

        return eventually(so, within, f"removed, {stop_cause}")

    def took(self, *steps: str | set[str], within: float = 10) -> list[Entry]:
        """The subject shows these actions of the engine and no other, in order; those of a set in any order."""

        def so():
            entries = [entry for entry in self.stack.of_container(self.container) if entry.action]
            rest = [entry.action for entry in entries]
            for step in steps:
                wanted = step if isinstance(step, set) else {step}
                taken, rest = rest[: len(wanted)], rest[len(wanted) :]
                assert set(taken) == wanted, f"{[entry.action for entry in entries]}, expected {steps}"
            assert not rest, f"more than expected: {rest}"
            times = [(event.time.seconds, event.time.nanos) for event in (entry.record.event for entry in entries)]
            assert all(time > (0, 0) for time in times), times
            return entries

        return eventually(so, within, f"the steps {steps}")


@pytest.fixture
def life(stack, containers):
    """Makes a container, started unless told otherwise."""

    def make(command, start=True, **options) -> Life:
        container = containers.create(command, **options)
        if start:
            container.start()
        return Life(stack, containers, container)

    return make


def die_code(entries: list[Entry]) -> int | None:
    event = next(entry.record.event for entry in reversed(entries) if entry.action == "die")
    return event.exit_code if event.HasField("exit_code") else None


def test_create(life):
    made = life(STUBBORN, start=False)
    state = made.becomes("created")
    assert "exit_code" not in state and "started_at" not in state
    made.took("create")


def test_run(life):
    made = life(STUBBORN)
    state = made.becomes("running")
    assert "exit_code" not in state and state["pid"] > 0 and state["started_at"] > state["created_at"]
    made.took("create", "start")


def test_end_with_0(life):
    made = life(["true"])
    assert made.becomes("exited", "completed")["exit_code"] == 0
    assert die_code(made.took("create", "start", "die")) == 0


def test_end_with_3(life):
    made = life(["sh", "-c", "exit 3"])
    state = made.becomes("exited", "crashed")
    assert state["exit_code"] == 3 and "pid" not in state
    assert die_code(made.took("create", "start", "die")) == 3


def test_a_label_does_not_spoof_the_exit_code(life):
    made = life(["sh", "-c", "exit 3"], labels={"exitCode": "77"})
    assert made.becomes("exited", "crashed")["exit_code"] == 3
    assert die_code(made.took("create", "start", "die")) in (None, 3)


def test_stop_of_one_that_ignores_term(life):
    made = life(STUBBORN)
    made.container.stop(timeout=1)
    assert made.becomes("exited", "killed")["exit_code"] == 137
    entries = made.took("create", "start", "kill", "kill", {"stop", "die"})
    assert [entry.record.event.signal for entry in entries if entry.action == "kill"] == [15, 9]


def test_stop_of_one_that_obeys(life):
    made = life(OBEDIENT)
    made.becomes("running")
    made.container.stop(timeout=20)
    assert made.becomes("exited", "stopped")["exit_code"] == 0
    made.took("create", "start", "kill", {"stop", "die"})


def test_kill(life):
    made = life(STUBBORN)
    made.container.kill()
    assert made.becomes("exited", "killed")["exit_code"] == 137
    made.took("create", "start", "kill", "die")


def test_start_again(life):
    made = life(["sh", "-c", "test -e /tmp/ran && exec sleep 1000; touch /tmp/ran; exit 4"])
    made.becomes("exited", "crashed")
    made.container.start()
    state = made.becomes("running")
    assert "exit_code" not in state and "finished_at" in state
    made.took("create", "start", "die", "start")


def test_restart(life):
    made = life(STUBBORN)
    made.container.restart(timeout=0)
    made.becomes("running")
    actions = [entry.action for entry in made.stack.of_container(made.container) if entry.action]
    assert actions[:2] == ["create", "start"] and actions[-2:] == ["start", "restart"]
    assert {"kill", "die", "stop"} == set(actions[2:-2])


def test_pause_and_unpause(life):
    made = life(STUBBORN)
    made.container.pause()
    assert made.becomes("paused")["pid"] > 0
    made.container.unpause()
    made.becomes("running")
    made.took("create", "start", "pause", "unpause")


def test_rename(life):
    made = life(STUBBORN)
    name = f"renamed-{made.engine.run_id}"
    made.container.rename(name)
    assert made.becomes("running")["name"] == name
    made.took("create", "start", "rename")


def test_update(life):
    """The event is told; limits are no part of a state, so that nothing else of it changes."""
    made = life(STUBBORN)
    made.took("create", "start")
    before = made.becomes("running")
    made.container.update(cpu_shares=512)
    made.took("create", "start", "update")
    after = made.becomes("running")
    assert after["seq"] > before["seq"], "the engine was asked again"
    assert not differences(after, before, [name for name in FIELDS if name not in OF_THE_LOOK])


def test_restart_policy(life):
    made = life(["sh", "-c", "exit 5"], restart_policy={"Name": "on-failure", "MaximumRetryCount": 2})
    state = made.becomes("exited", "crashed", within=40)
    assert (state["restart_count"], state["exit_code"]) == (2, 5)
    made.took("create", "start", "die", "start", "die", "start", "die")


def test_out_of_memory(life):
    made = life(["sh", "-c", "exec tail /dev/zero"], mem_limit="16m", memswap_limit="16m")
    made.engine.wait_for(made.container, "exited", within=40)
    state = made.becomes("exited", "oom_killed")
    assert (state["oom_killed"], state["exit_code"]) == (True, 137)
    made.took("create", "start", {"oom", "die"})


def test_health(life):
    check = Healthcheck(test=["CMD", "test", "-e", "/tmp/well"], interval=SECOND, timeout=10 * SECOND, retries=1)
    made = life(["sh", "-c", "touch /tmp/well; exec sleep 1000"], healthcheck=check)

    def health_is(wanted):
        return eventually(
            lambda: (made.stack.store.state(made.container.id) or {}).get("health") == wanted, 30, f"health {wanted}"
        )

    health_is("healthy")
    made.becomes("running")
    made.container.exec_run(["rm", "/tmp/well"])
    health_is("unhealthy")
    assert made.becomes("running")["health"] == "unhealthy"
    entries = made.took("create", "start", "health_status", "health_status")
    told = [entry.state.get("health") for entry in entries]
    assert told[-2:] == ["healthy", "unhealthy"], told


def test_forced_removal_while_running(life):
    made = life(STUBBORN)
    made.becomes("running")
    made.container.remove(force=True)
    made.is_gone("removed", 137)
    made.took("create", "start", "kill", "die", "destroy")


def test_removal_after_the_end(life):
    made = life(["sh", "-c", "exit 6"])
    made.becomes("exited", "crashed")
    made.container.remove()
    made.is_gone("crashed", 6)
    made.took("create", "start", "die", "destroy")


def test_removal_by_itself(life):
    made = life(["sleep", "1"], auto_remove=True)
    made.is_gone("completed", 0)
    made.took("create", "start", "die", "destroy")


def test_compose_labels_ports_and_times(life):
    labels = {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "web",
        "with space and ü": 'a "quoted" value',
    }
    made = life(OBEDIENT, labels=labels, ports={"80/tcp": ("127.0.0.1", None), "53/udp": None, "9000/tcp": []})
    state = made.becomes("running")
    assert (state["project"], state["service"]) == ("shop", "web")
    assert labels.items() <= state["labels"].items()
    assert any(port.get("host_ip") == "127.0.0.1" and port["container_port"] == 80 for port in state["ports"])
    made.container.stop(timeout=20)
    made.becomes("exited", "stopped")


def test_all_of_it_is_in_order(stack, containers):
    """After all that: the same check over everything that the tests above left in the record."""
    containers.run(STUBBORN)
    _, story = stack.wait_settled()
    assert story.epochs == [1] and not story.stamp_gaps and not story.engine_gaps
