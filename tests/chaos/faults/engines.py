"""Engines: gone and back, with more events than they remember, or with events that nobody heard."""

from harness.wait import eventually

from faults.base import BLIND, ENGINE, LIFE, LOST, Fault

STORM = 400


class EngineGone(Fault):
    """`blind`, then a statement; deaths nobody saw read `daemon_restart`."""

    gaps, words = ENGINE, BLIND

    def __init__(self, name: str, node: str, live_restore: bool):
        super().__init__(name)
        self._node, self._live_restore = node, live_restore
        self.parts = frozenset({f"engine-{node}"})

    def begin(self, world):
        engine = world.engines[self._node]
        world.machinery.do(engine.close())
        self._ran = [each.id for each in engine.containers.values() if each.running]

    def during(self, world):
        store = world.store(self._node)
        eventually(lambda: store.node_fields()["status"] == "blind", 30, "the node is blind")
        states = store.states()
        assert states and {state["status"] for state in states.values()} == {"unknown"}, "a stale state is shown"

    def end(self, world):
        engine = world.engines[self._node]
        world.load_rests()
        world.machinery.call(lambda: engine.forget(self._live_restore))
        world.machinery.do(engine.open())

    def after(self, world):
        states = world.store(self._node).states()
        expected = "running" if self._live_restore else "exited"
        wrong = [each for each in self._ran if states[each]["status"] not in (expected, "paused")]
        assert not wrong, f"{len(wrong)} of {len(self._ran)} that ran are not {expected}"
        if not self._live_restore:
            causes = {states[each].get("stop_cause") for each in self._ran}
            assert causes == {"daemon_restart"}, f"what ended while the engine was away reads {causes}"


class Storm(Fault):
    """More events than the ring holds, and the producer is not there meanwhile."""

    gaps, words, hold = LIFE | ENGINE, LOST, 0
    parts = frozenset({"producer-a", "engine-a"})

    def begin(self, world):
        world.roles["producer-a"].kill()
        world.machinery.call(lambda: world.loads["a"].burst(STORM))

    def end(self, world):
        world.roles["producer-a"].start()

    def after(self, world):
        assert world.ledger.gaps["a", "GAP_REASON_ENGINE_OVERFLOW"], "no gap says that the engine forgot"


class Unheard(Fault):
    """A container ends and starts again, and the engine tells nobody: found by looking."""

    hold = 0
    parts = frozenset({"engine-b"})

    def begin(self, world):
        world.load_rests()
        world.wait_right(60)
        engine = world.engines["b"]

        def end_and_start() -> None:
            ran = [each for each in engine.containers.values() if each.status == "running"]
            container = ran[0] if ran else engine.create("unheard", {})
            engine.swallow = True
            if ran:
                engine.end(container, 1)
            engine.start(container)
            engine.swallow = False

        world.machinery.call(end_and_start)

    def after(self, world):
        eventually(lambda: _missed(world), 30, "the missed event is said")


def _missed(world) -> bool:
    world.read_on()
    return world.ledger.corrections["b", "DRIFT_KIND_MISSED_EVENT"] > 0


def faults() -> list[Fault]:
    return [
        EngineGone("engine-killed", "a", live_restore=False),
        EngineGone("engine-restarted-with-live-restore", "c", live_restore=True),
        Storm("storm-while-the-producer-is-away"),
        Unheard("die-and-start-both-lost"),
    ]
