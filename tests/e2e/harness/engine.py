"""A Docker Engine: the machine's own where one answers, else one started here. Touches only containers made here."""

import io
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container

from harness import truth
from harness.paths import IMAGE_FILES, environment
from harness.process import Process
from harness.wait import eventually

IMAGE = "deckwatch-test:1"
LABEL = "deckwatch.test"

# Runs until it is killed: as process 1 it ignores TERM.
STUBBORN = ["sleep", "1000"]
# Ends with 0 when it is asked to.
OBEDIENT = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]


def answers(address: str) -> bool:
    try:
        client = docker.DockerClient(base_url=address, timeout=5)
    except (DockerException, OSError):
        return False
    try:
        return client.ping()
    except (DockerException, OSError):
        return False
    finally:
        client.close()


class Engine:
    def __init__(self, run: str, address: str | None = None):
        """`address` is that of an engine which somebody else runs."""
        self.run_id = run
        self._own: Process | None = None
        self._folder: Path | None = None
        self.address = address or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        if not address and not answers(self.address):
            self._start_own()
        self.client = docker.DockerClient(base_url=self.address, timeout=60)
        self.name = self.client.info()["Name"]
        self._import_image()

    # --- the daemon ---

    def _start_own(self) -> None:
        if os.geteuid() != 0 or not shutil.which("dockerd"):
            raise RuntimeError(
                f"no engine answers at {self.address}: start Docker, or run the tests as root with dockerd installed"
            )
        folder = self._folder = Path(tempfile.mkdtemp(prefix="deckwatch-engine-"))
        self.address = f"unix://{folder}/docker.sock"
        (folder / "daemon.json").write_text("{}")
        argv = ["dockerd", "-H", self.address, "--config-file", folder / "daemon.json"]
        argv += ["--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "docker.pid"]
        argv += ["--iptables=false", "--ip-masq=false"]
        self._own = Process("dockerd", argv, folder, environment()).start()
        try:
            eventually(lambda: answers(self.address), 60, "an engine of the tests' own is up")
        except AssertionError as error:
            said = self._own.tail()
            self._own.stop(60)
            raise RuntimeError(f"{error}\n{said}") from None

    def close(self) -> None:
        self.remove_all()
        try:
            self.client.images.remove(IMAGE)
        except APIError:
            pass  # Somebody's container still uses it.
        self.client.close()
        if self._own:
            self._own.stop(60)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _import_image(self) -> None:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(IMAGE_FILES, arcname=".")
        name, tag = IMAGE.split(":")
        self.client.api.import_image_from_data(archive.getvalue(), repository=name, tag=tag)

    # --- containers ---

    def create(self, command: list[str], client: docker.DockerClient | None = None, **options) -> Container:
        """A container of these tests, without a network unless told otherwise."""
        if "ports" not in options:
            options.setdefault("network_mode", "none")
        options["labels"] = {LABEL: self.run_id} | options.get("labels", {})
        return (client or self.client).containers.create(IMAGE, command, **options)

    def run(self, command: list[str], **options) -> Container:
        container = self.create(command, **options)
        container.start()
        return container

    def put(self, container: Container, path: str, content: bytes, executable: bool = False) -> None:
        """Writes a file into a container."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size, info.mode = len(content), 0o755 if executable else 0o644
            tar.addfile(info, io.BytesIO(content))
        container.put_archive("/", archive.getvalue())

    def remove_all(self) -> None:
        for container in self.client.containers.list(
            all=True, ignore_removed=True, filters={"label": f"{LABEL}={self.run_id}"}
        ):
            try:
                container.remove(force=True)
            except NotFound:
                pass

    # --- the truth ---

    def states(self, node: str) -> dict[str, dict]:
        """Every container of the engine, whoever made it, by id."""
        states = {}
        for row in self.client.api.containers(all=True):
            try:
                states[row["Id"]] = truth.container_state(self.client.api.inspect_container(row["Id"]), node)
            except NotFound:
                pass
        return states

    def state(self, container: Container, node: str) -> dict:
        return truth.container_state(self.client.api.inspect_container(container.id), node)

    def status(self, container: Container) -> str:
        return self.client.api.inspect_container(container.id)["State"]["Status"]

    def wait_for(self, container: Container, status: str, within: float = 20) -> None:
        eventually(lambda: self.status(container) == status, within, f"{container.name} is {status}")
