"""One of three nats-servers goes, comes back and lags behind: who read there reads on elsewhere, and who reads there then
does not take what it has for all there is."""

import time

import pytest

from harness.churn import Churn
from harness.engine import STUBBORN
from harness.members import Members
from harness.stack import BRISK, Stack
from harness.wait import eventually, promised

# Seconds in which a server that comes back may lag.
LAG = 2
# Records that it lacks.
AWAY = 200
STATE = "DECKWATCH_STATE_0"
# Seconds until a reader is made anew whose server is gone.
READ_ON = 6


@pytest.fixture
def members(tmp_path):
    members = Members(tmp_path)
    try:
        members.start()
        yield members
    finally:
        members.stop()


@pytest.fixture
def stack(tmp_path, engine, binary, members):
    stack = Stack(tmp_path, engine, settings=BRISK | {"DECKWATCH_REPLICAS": "3"}, nats=members)
    try:
        yield stack.start()
    finally:
        stack.stop()


def test_a_sequencer_recovers_all(stack, containers, members):
    """One life after another begins while a server comes back: no stamp is written twice."""
    with Churn(containers, threads=2, pause=0.01):
        for member in members.members[1:]:
            member.kill()
            wait_written(stack, AWAY)
            member.process.start()
            back, lives = time.monotonic(), 0
            while time.monotonic() < back + LAG:
                stack.sequencer.stop()
                stack.sequencer.start()
                stack.sequencer.wait_ready()
                lives += 1
            wait_written(stack, 1)
            print(f"{lives} lives")
    _, story = stack.wait_settled(60)
    assert story.epochs == [1] and not story.stamp_gaps and not story.engine_gaps


def test_a_history_is_whole(stack, containers, members):
    """Asked again and again while a server comes back that lacks all of it."""
    member = members.members[2]
    member.kill()
    with Churn(containers, threads=2, pause=0.01):
        wait_written(stack, AWAY)
    container = containers.run(STUBBORN)
    stack.wait_settled(60)
    told = history(stack, container.id)
    assert told
    member.process.start()
    back = time.monotonic()
    while time.monotonic() < back + LAG:
        assert history(stack, container.id) == told


def history(stack: Stack, container: str) -> list[dict]:
    answer = stack.ask("history", container, "-o", "json")
    assert answer.code == 0, answer
    return answer.lines


def test_a_reader_goes_with_its_server(stack, containers, members):
    """The sequencer's connection stays, and the streams keep their leaders; only what it reads by is gone."""
    for stream in ("DECKWATCH_RAW", STATE):
        eventually(lambda stream=stream: leads(members, stream), 60, "the first one leads")
    while (reader := reading(members)) == 0:
        # Through this one it is connected.
        stack.sequencer.stop()
        stack.sequencer.start()
        stack.sequencer.wait_ready()
    members.members[reader].kill()
    killed, container = time.monotonic(), containers.run(STUBBORN)
    promised(lambda: stack.of_container(container) or None, READ_ON, "it reads on", killed)


def leads(members: Members, stream: str) -> bool:
    """The first one does, or is asked to."""
    if members.leader(stream) != 0:
        members.ask(f"STREAM.LEADER.STEPDOWN.{stream}", {"placement": {"preferred": "n0"}})
    return members.leader(stream) == 0


def reading(members: Members) -> int:
    """The server that has the sequencer's reader of observations."""

    def known() -> int:
        readers = members.ask("CONSUMER.LIST.DECKWATCH_RAW")["consumers"]
        assert len(readers) == 1, readers
        return int(readers[0]["cluster"]["leader"].removeprefix("n"))

    return eventually(known, 60, "it has one reader")


def wait_written(stack: Stack, more: int) -> None:
    before = eventually(lambda: written(stack), 60, "the record has a leader")
    eventually(lambda: written(stack) >= before + more, 60, f"{more} records more")


def written(stack: Stack) -> int:
    return stack.nats.ask(f"STREAM.INFO.{STATE}")["state"]["last_seq"]
