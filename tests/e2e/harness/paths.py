"""Where the program, its tools and its protocol files are."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROTO = ROOT / "proto"
# Where nats-server and redis-server are; `scripts/tools` puts the files of the test image beside it.
TOOLS = Path(os.environ.get("DECKWATCH_TOOLS_DIR") or ROOT / ".tools" / "bin")
IMAGE_FILES = TOOLS.parent / "busybox"
BINARY = Path(os.environ.get("DECKWATCH_BIN") or ROOT / "target" / "release" / "deckwatch")


def tool(name: str) -> str:
    path = TOOLS / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `scripts/tools e2e`")
    return str(path)


def environment(**more: str) -> dict[str, str]:
    """The environment of a program under test: nothing of the caller's deckwatch or engine settings leaks in."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("DECKWATCH_", "DOCKER_")) and key != "NO_COLOR"
    }
    kept["PATH"] = f"{TOOLS}:{kept.get('PATH', '/usr/bin:/bin')}"
    kept["RUST_BACKTRACE"] = "1"
    kept["DECKWATCH_TOOLS_DIR"] = str(TOOLS)
    return kept | more
