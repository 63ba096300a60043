"""Images without a registry: real programs of this machine under the tags that a compose file or a Dockerfile names."""

import io
import os
import re
import subprocess
import tarfile
from pathlib import Path

import docker
from docker.errors import APIError, ImageNotFound

from harness.paths import IMAGE_FILES, TOOLS, tool

# Containers inherit it, so it is another one than theirs.
LABEL = "deckwatch.test-image"


class Images:
    """What an engine has under a tag stays as it is; what was made here is gone at the end."""

    def __init__(self, client: docker.DockerClient, run: str):
        self._client, self._run = client, run
        self._caches = self._build_caches()
        self._made: list[str] = []

    def provide(self, tag: str, *programs: Path) -> None:
        """A busybox with these programs and the libraries that they are linked to."""
        try:
            label = self._client.images.get(tag).labels.get(LABEL)
        except ImageNotFound:
            label = self._run
        if label is not None:
            self._make(tag, _files(programs), IMAGE_FILES)

    def wrap(self, tag: str, path: str, content: Path) -> None:
        """An image that holds one file."""
        self._make(tag, {path: content})

    def remove_at_end(self, tag: str) -> None:
        self._made.append(tag)

    def close(self) -> None:
        for tag in self._made:
            try:
                self._client.images.remove(tag)
            except APIError:
                pass  # Never built, or somebody's container still uses it.
        self._prune_builds()

    def _prune_builds(self) -> None:
        """The engine takes one at a time, and none on which another stands."""
        made = self._build_caches() - self._caches
        while made:
            said = [self._client.api.prune_builds(filters={"id": cache}, all=True) for cache in made]
            gone = {cache for answer in said for cache in answer["CachesDeleted"] or []}
            assert gone, f"build caches that cannot be removed: {made}"
            made -= gone

    def _make(self, tag: str, files: dict[str, Path], tree: Path | None = None) -> None:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            if tree:
                tar.add(tree, arcname=".")
            for path, content in files.items():
                tar.add(content.resolve(), arcname=path.lstrip("/"))
        name, _, version = tag.partition(":")
        changes = [f"LABEL {LABEL}={self._run}", "ENV PATH=/usr/local/sbin:/usr/local/bin:/bin"]
        self._client.api.import_image_from_data(archive.getvalue(), repository=name, tag=version, changes=changes)
        self._made.append(tag)

    def _build_caches(self) -> set[str]:
        return {cache["ID"] for cache in self._client.df().get("BuildCache") or []}


def program(name: str) -> Path:
    """A tool's own file: some are started by a script that names the libraries beside it."""
    unpacked = sorted(TOOLS.parent.glob(f"*/usr/*bin/{name}"))
    return unpacked[0] if unpacked else Path(tool(name)).resolve()


def _files(programs: tuple[Path, ...]) -> dict[str, Path]:
    files = {}
    for path in programs:
        files[f"usr/local/bin/{path.name}"] = path
        for library in _libraries(path):
            # The loader is where the program says; what it loads is where it looks last.
            files[str(library) if "ld-linux" in library.name else f"lib/{library.name}"] = library
    return files


def _libraries(path: Path) -> list[Path]:
    beside = path.parent.parent / "lib" / f"{os.uname().machine}-linux-gnu"
    said = subprocess.run(["ldd", path], capture_output=True, text=True, env=os.environ | {"LD_LIBRARY_PATH": str(beside)})
    assert "not found" not in said.stdout, f"{path}: {said.stdout}"
    return [Path(found) for found in re.findall(r"(/\S+) \(0x", said.stdout)]
