"""Redis: killed, frozen, flushed, taken back to an old dump, or changed by another hand."""

import shutil
import signal

from harness.wait import eventually

from faults.base import Fault

EDITED = "DRIFT_KIND_EDITED_STORE"


class StoreFault(Fault):
    parts = frozenset({"redis"})


class Killed(StoreFault):
    def begin(self, world):
        world.redis.kill()

    def end(self, world):
        world.redis.start()


class Frozen(StoreFault):
    """It answers nobody; and when it wakes, nothing in it is current until it is."""

    hold = 8

    def begin(self, world):
        world.redis.process.signal(signal.SIGSTOP)

    def during(self, world):
        listed = world.ask("ps", "-o", "json")
        assert listed.code == 3, f"ps answers, and Redis stands still: {listed}"

    def end(self, world):
        world.redis.process.signal(signal.SIGCONT)


class Flushed(StoreFault):
    hold = 1

    def __init__(self, name: str, functions: bool):
        super().__init__(name)
        self._functions = functions

    def begin(self, world):
        client = world.redis.client()
        client.flushall()
        if self._functions:
            client.function_flush()
        client.close()

    def after(self, world):
        eventually(lambda: _said(world, EDITED), 30, "that another hand changed the store is said")


class Restored(StoreFault):
    """From a dump that was made before much happened."""

    store_steps_back = True
    hold = 4

    def begin(self, world):
        self._dump = world.folder / "dump"
        world.redis.kill()
        world.redis.save(self._dump)
        world.redis.start()

    def end(self, world):
        world.redis.kill()
        world.redis.restore(self._dump)
        shutil.rmtree(self._dump)
        world.redis.start()


class Edited(StoreFault):
    """Fields are changed, keys deleted and ids taken from indexes, of every node."""

    hold = 0

    def begin(self, world):
        world.load_rests()
        world.wait_right(60)
        client = world.redis.client()
        for node in world.engines:
            store = world.store(node)
            ids = sorted(client.smembers(store.key("containers")))
            one, other, third = ids[0], ids[1], ids[2]
            client.hset(store.key(f"container:{one}"), "status", "dead")
            client.delete(store.key(f"container:{other}"))
            client.srem(store.key("containers"), third)
            client.delete(f"deckwatch:id:{third}")
        client.close()

    def after(self, world):
        eventually(lambda: _said(world, EDITED), 30, "that another hand changed the store is said")


def _said(world, drift: str) -> bool:
    world.read_on()
    return any(kind == drift for _, kind in world.ledger.corrections)


def faults() -> list[Fault]:
    return [
        Killed("redis-killed"),
        Frozen("redis-frozen"),
        Flushed("redis-flushed", functions=False),
        Flushed("redis-flushed-with-its-functions", functions=True),
        Restored("redis-restored-from-an-old-dump"),
        Edited("redis-edited-by-hand"),
    ]


