"""The harness's servers, whose folders may be disks: these are emptied, and never removed."""

import shutil
from pathlib import Path

from harness.servers import NatsServer, RedisServer


class Nats(NatsServer):
    def wipe(self) -> None:
        assert not self.process.running
        empty(self._store)


class Redis(RedisServer):
    def restore(self, folder: Path) -> None:
        assert not self.process.running
        empty(self._data)
        shutil.copytree(folder, self._data, dirs_exist_ok=True)


def empty(folder: Path) -> None:
    for each in folder.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()
