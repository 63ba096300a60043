"""A Docker daemon of a test's own, which the test may stop, kill and start again: folders, socket and network apart."""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from harness import tree
from harness.engine import Engine, answers
from harness.paths import TOOLS, environment
from harness.process import Process
from harness.wait import eventually

# Seconds for a daemon to answer, and to end with what it runs.
START_MAX, STOP_MAX = 60, 40


def machine_programs() -> str:
    """`PATH` of the machine's own daemon."""
    path = environment()["PATH"] + ":/usr/sbin:/sbin"
    assert shutil.which("dockerd", path=path), "dockerd is missing; as root: apt-get install docker.io"
    return path


def newer_programs() -> str:
    """`PATH` of the daemon that `scripts/tools engine` unpacks."""
    engine = TOOLS.parent / "engine" / "usr"
    assert (engine / "sbin" / "dockerd").exists(), f"{engine}/sbin/dockerd is missing: run `scripts/tools e2e`"
    return f"{engine}/sbin:{engine}/bin:{TOOLS.parent}/runc/usr/sbin:{machine_programs()}"


class Daemon:
    """Use as a context: on exit no container, process, mount or file of it is left."""

    def __init__(self, name: str, path: str, run: str, bridged: bool = False):
        """`bridged` is one whose containers can have a network, for ports that are published inside of its namespace."""
        # A short path: the one of a socket may have 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix=f"deckwatch-{name}-"))
        self.address = f"unix://{self.folder}/docker.sock"
        self._run = run
        # Who may use it is said by its socket, as of the machine's own.
        self.folder.chmod(0o711)
        (self.folder / "daemon.json").write_text("{}")
        # A network namespace of its own, which ends with it: two daemons in one take each other's bridges away.
        argv = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"] if bridged else ["unshare", "--net"]
        argv += [shutil.which("dockerd", path=path), "--host", self.address]
        argv += ["--config-file", self.folder / "daemon.json", "--data-root", self.folder / "data"]
        argv += ["--exec-root", self.folder / "exec", "--pidfile", self.folder / "docker.pid"]
        argv += [] if bridged else ["--bridge", "none", "--iptables=false", "--ip6tables=false"]
        self.process = Process(f"dockerd-{name}", argv, self.folder, environment(PATH=path))

    def __enter__(self) -> "Daemon":
        try:
            self.start()
            self.engine = Engine(self._run, self.address)
        except BaseException:
            self._sweep()
            raise
        return self

    def __exit__(self, *_) -> None:
        try:
            if not self.process.running:
                self.start()
            self.engine.remove_all()
            self.engine.client.close()
            self.stop()
            left = tree.naming(str(self.folder))
            assert not left, f"{self.process.name} left processes behind: {left}"
        finally:
            self._sweep()

    # --- its life ---

    def start(self) -> None:
        """Returns when it answers."""
        self.process.start()
        try:
            eventually(self._answers, START_MAX, f"{self.process.name} answers")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.process.tail()}") from None

    def _answers(self) -> bool:
        assert self.process.running, f"{self.process.name} ended with {self.process.code}"
        return answers(self.address)

    def stop(self) -> None:
        """SIGTERM: it shuts its containers down, then ends."""
        self.process.stop(STOP_MAX)

    def kill(self) -> None:
        """`kill -9`, and the same to its containerd. What its containers run goes on, and nobody watches it."""
        children = tree.children(self.process.pid)
        self.process.kill()
        for child in tree.still_there(children):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        # A dead one that nobody has reaped yet passes for a living one with the next daemon.
        paths = [Path(f"/proc/{child}") for child in children]
        eventually(lambda: not any(path.exists() for path in paths), 30, f"{self.process.name}'s containerd is gone")

    # --- what is left of it ---

    def _sweep(self) -> None:
        """Whatever went wrong before: nothing of it stays on the machine."""
        if self.process.running:
            self.process.kill()
        # Daemon, containerd and shims: each names the folder in its arguments. A shim's child is a container.
        for shim in tree.pids_naming(str(self.folder)):
            for pid in [*tree.children(shim), shim]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        eventually(lambda: not tree.naming(str(self.folder)), 10, f"the processes of {self.process.name} are gone")
        for mount in reversed(self._mounts()):
            subprocess.run(["umount", "--lazy", mount], check=True)
        shutil.rmtree(self.folder)

    def _mounts(self) -> list[str]:
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        return [mount for mount in mounts if mount.startswith(f"{self.folder}/")]
