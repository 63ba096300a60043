"""What `deploy/Dockerfile` is given to build from: its whole build takes minutes, to see what is missing does not."""

import os
import shutil
import subprocess
from pathlib import Path

from docker.utils.build import exclude_paths

from harness.paths import ROOT


def test_the_context_holds_what_the_program_is_made_of(binary, tmp_path):
    context, sources = context_files(), sources_of(binary)
    assert {"cli/src/main.rs", "projector/src/library.lua", "deploy/nats.conf", "proto/deckwatch/v1"} <= sources
    assert sources | {"Cargo.lock"} <= context, sources - context
    assert not {path for path in context if path.startswith((".git/", "target/", ".tools/"))}

    # A member of the workspace that is not there ends every build, also of those that do without it.
    for path in context:
        if (ROOT / path).is_file():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, tmp_path / path)
    command = ["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert said.returncode == 0, said.stderr


def context_files() -> set[str]:
    """Paths below the root that an engine is sent."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return exclude_paths(str(ROOT), [line for line in lines if line and not line.startswith("#")], "deploy/Dockerfile")


def sources_of(binary: Path) -> set[str]:
    """Paths below the root that the compiler read, as cargo wrote them down beside the program."""
    _, _, paths = binary.with_suffix(".d").read_text().partition(": ")
    read = [Path(os.path.normpath(path)) for path in paths.split()]
    below = {str(path.relative_to(ROOT)) for path in read if path.is_relative_to(ROOT)}
    return {path for path in below if not path.startswith("target/")}
