"""Wall clocks of the roles, which a fault can set; monotonic ones go on as they are."""

import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "clock.c"


class Clock:
    """One clock, for whoever is started with its `environment`."""

    def __init__(self, folder: Path, name: str, library: Path):
        self._file = folder / f"{name}.clock"
        self.set_ahead(0)
        self.environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(self._file)}

    def set_ahead(self, seconds: int) -> None:
        """So far before the machine's clock, or behind it."""
        with self._file.open("r+b" if self._file.exists() else "w+b") as file:
            file.write(struct.pack("q", seconds))


def build(folder: Path) -> Path:
    library = folder / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, SOURCE], check=True)
    return library
