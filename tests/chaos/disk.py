"""Small disks: a folder in memory of its own, whose size a fault can take away."""

import os
import subprocess
from pathlib import Path

# More than there is memory: a server asks only how much there could be.
SIZE = 64 << 30
PAGE = 4096


class Disk:
    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(exist_ok=True)
        _mount("-t", "tmpfs", "-o", f"size={SIZE}", "chaos", str(folder))

    def fill(self, left: int) -> None:
        """As good as full: so many bytes are free."""
        now = os.statvfs(self._folder)
        used = (now.f_blocks - now.f_bfree) * now.f_frsize
        self._resize(used + left)

    def free(self) -> None:
        self._resize(SIZE)

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", str(self._folder)], check=True)

    def _resize(self, size: int) -> None:
        _mount("-o", f"remount,size={-(-size // PAGE) * PAGE}", str(self._folder))


def can_mount() -> bool:
    """Root may; in a container often not even root."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


def _mount(*argv: str) -> None:
    subprocess.run(["mount", *argv], check=True)
