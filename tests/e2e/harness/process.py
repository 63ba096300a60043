"""Child processes with their output in files. Only what was started here is ever signalled, by its process id."""

import signal
import subprocess
from pathlib import Path

from harness.paths import environment


class Process:
    def __init__(self, name: str, argv: list[str], folder: Path, env: dict[str, str] | None = None):
        self.name = name
        self.argv = [str(part) for part in argv]
        self.env = environment() if env is None else env
        self.stdout = folder / f"{name}.out"
        self.stderr = folder / f"{name}.err"
        self._child: subprocess.Popen | None = None

    def start(self) -> "Process":
        assert not self.running, f"{self.name} runs already"
        with self.stdout.open("ab") as out, self.stderr.open("ab") as err:
            # A session of its own: a Ctrl-C of the test run does not reach it, and a test can send one to all of it.
            self._child = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self.env, start_new_session=True
            )
        return self

    @property
    def pid(self) -> int:
        assert self._child is not None, f"{self.name} was never started"
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def code(self) -> int | None:
        return None if self._child is None else self._child.poll()

    def signal(self, number: signal.Signals) -> None:
        assert self._child is not None
        self._child.send_signal(number)

    def wait(self, within: float) -> int:
        assert self._child is not None
        return self._child.wait(within)

    def kill(self) -> None:
        """`kill -9`."""
        self.signal(signal.SIGKILL)
        self.wait(10)

    def stop(self, within: float = 20) -> int | None:
        """SIGTERM, and the exit code; `kill -9` and a failure where that is not enough."""
        if not self.running:
            return self.code
        self.signal(signal.SIGTERM)
        try:
            return self.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {within:g} s after SIGTERM") from None

    def tail(self, lines: int = 40) -> str:
        parts = []
        for path in (self.stdout, self.stderr):
            text = path.read_text(errors="replace").splitlines() if path.exists() else []
            parts += [f"--- {path.name}, last {lines} of {len(text)} lines", *text[-lines:]]
        return "\n".join(parts)


class Processes:
    """Several, ended and told of as one."""

    def __init__(self, processes: list[Process]):
        self._processes = processes

    def stop(self) -> None:
        for process in self._processes:
            process.stop()

    def tail(self) -> str:
        return "\n".join(process.tail(15) for process in self._processes)
