"""`ps -w`: the table is drawn again and again, and says when it is not current."""

import signal

import pytest

from harness.engine import STUBBORN
from harness.process import Process
from harness.wait import eventually

# Puts the cursor home, and clears what is below it.
CLEARS = "\x1b[H\x1b[J"
NOT_CURRENT = "not current: "


def last_frame(process: Process) -> str:
    """What the screen shows."""
    _, *frames = process.stdout.read_text().split(CLEARS)
    assert frames, "nothing is drawn"
    return frames[-1]


@pytest.fixture
def live(brisk_stack):
    process = brisk_stack.ask_process("ps-live", "ps", "-w")
    yield process
    if process.running:
        process.kill()


def test_ps_keeps_its_table_live(brisk_stack, live, containers):
    stack = brisk_stack
    old = containers.run(STUBBORN)
    eventually(lambda: old.name in last_frame(live), 10, "the table is drawn")
    new = containers.run(STUBBORN)
    eventually(lambda: f"{new.name} " in last_frame(live), 10, "what is new is drawn")
    old.remove(force=True)
    eventually(lambda: old.name not in last_frame(live) and new.name in last_frame(live), 10, "what is gone is not")
    assert NOT_CURRENT not in live.stdout.read_text()

    stack.projector.kill()
    eventually(lambda: NOT_CURRENT in last_frame(live), 20, "it says that nothing is current")
    assert new.name in last_frame(live), "what was known is shown no more"
    stack.projector.start()

    def current() -> bool:
        frame = last_frame(live)
        return NOT_CURRENT not in frame and new.name in frame

    eventually(current, 30, "it is current again")
    assert live.running, live.tail()
    live.signal(signal.SIGINT)
    assert live.wait(10) == 0 and live.stderr.read_text() == "", live.tail()
