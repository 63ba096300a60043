"""Runs the program as a user does: arguments in, exit code and two outputs back."""

import json
import os
import pty
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from harness.paths import BINARY, environment


@dataclass
class Result:
    argv: list[str]
    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[dict]:
        """Output of one JSON object a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    def __str__(self) -> str:
        return (
            f"deckwatch {' '.join(self.argv)}\nexit code {self.code} after {self.seconds:.1f} s"
            f"\n--- stdout\n{self.out}\n--- stderr\n{self.err}"
        )


def deckwatch(*argv: str, env: dict[str, str] | None = None, within: float = 30) -> Result:
    """Runs it to its end. One that hangs is killed, and the test fails."""
    argv = [str(part) for part in argv]
    started = time.monotonic()
    child = subprocess.Popen(
        [str(BINARY), *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**(env or {})),
        start_new_session=True,
    )
    try:
        out, err = child.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        result = Result(argv, -1, out, err, time.monotonic() - started)
        raise AssertionError(f"hangs: not over after {within:g} s\n{result}") from None
    return Result(argv, child.returncode, out, err, time.monotonic() - started)


def on_terminals(*argv: str, within: float = 30) -> Result:
    """The same, with each of its two outputs on a terminal of its own."""
    argv = [str(part) for part in argv]
    started = time.monotonic()
    (out, out_end), (err, err_end) = pty.openpty(), pty.openpty()
    with ThreadPoolExecutor(2) as readers:
        try:
            child = subprocess.Popen(
                [str(BINARY), *argv],
                stdin=subprocess.DEVNULL,
                stdout=out_end,
                stderr=err_end,
                env=environment(),
                start_new_session=True,
            )
        finally:
            os.close(out_end)
            os.close(err_end)
        reading = [readers.submit(_shown, terminal) for terminal in (out, err)]
        try:
            code = child.wait(within)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            code = child.wait()
    out, err = (reader.result() for reader in reading)
    return Result(argv, code, out, err, time.monotonic() - started)


def _shown(terminal: int) -> str:
    """All that is written to a terminal until nobody can write there any more."""
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 4096)
        except OSError:
            os.close(terminal)
            return shown.decode()
