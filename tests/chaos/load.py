"""Load: containers of a simulated engine that live and die at random, so many events a second."""

import asyncio
import random

from engine import Container, Engine

# Containers of one engine: below the one it makes some, above the other it makes none.
FEW, MANY = 8, 24
# How often it is looked how many events are due.
STEP = 0.05


class Load:
    """Lives in an event loop."""

    def __init__(self, engine: Engine, rate: float, seed: str):
        self._engine, self._rate, self._dice = engine, rate, random.Random(seed)
        self._made = 0
        self._going = asyncio.Event()

    def go(self) -> None:
        self._going.set()

    def rest(self) -> None:
        self._going.clear()

    async def run(self) -> None:
        while True:
            await self._going.wait()
            due = self._engine.told + self._engine.swallowed + self._rate * STEP
            # Nothing happens on an engine that is not there.
            while self._engine.is_open and self._engine.told + self._engine.swallowed < due:
                self.step()
            await asyncio.sleep(STEP)

    def burst(self, events: int) -> None:
        """So many at once."""
        due = self._engine.told + events
        while self._engine.told < due:
            self.step()

    def step(self) -> None:
        """One thing happens to one container, or to a new one."""
        engine, dice = self._engine, self._dice
        containers = list(engine.containers.values())
        if len(containers) < FEW or (len(containers) < MANY and dice.random() < 0.2):
            self._create()
            return
        container = dice.choice(containers)
        if container.status == "paused":
            engine.unpause(container)
        elif container.running:
            act = dice.choices([self._end, engine.stop, engine.kill, engine.pause, engine.remove], [4, 3, 2, 1, 2])[0]
            act(container)
        else:
            act = dice.choices([engine.start, self._rename, engine.remove], [6, 1, 3])[0]
            act(container)

    def _create(self) -> None:
        self._made += 1
        labels = {}
        if self._dice.random() < 0.5:
            labels["com.docker.compose.project"] = self._dice.choice(["shop", "blog"])
            labels["com.docker.compose.service"] = self._dice.choice(["web", "db", "queue"])
        container = self._engine.create(f"{self._engine.name}-{self._made}", labels)
        if self._dice.random() < 0.8:
            self._engine.start(container)

    def _end(self, container: Container) -> None:
        self._engine.end(container, self._dice.choice([0, 0, 1, 3]))

    def _rename(self, container: Container) -> None:
        self._made += 1
        self._engine.rename(container, f"{self._engine.name}-{self._made}")
