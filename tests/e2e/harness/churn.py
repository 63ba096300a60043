"""Load: threads that create, start, stop, kill, rename and remove containers at random."""

import random
import threading
import time

import docker
from docker.errors import APIError, NotFound

from harness.engine import OBEDIENT, STUBBORN, Engine

THREADS = 8
# Each thread keeps at most so many containers, so that the engine's list stays short.
KEPT = 4

COMMANDS = [STUBBORN, STUBBORN, OBEDIENT, ["true"], ["sh", "-c", "exit 3"], ["not-in-the-path"]]


class Churn:
    """Use as a context: it begins on entry, and on exit every thread has ended. What is left stays on the engine."""

    def __init__(self, engine: Engine, seed: int | None = None, threads: int = THREADS, pause: float = 0):
        """`pause` is how long each thread rests after each step."""
        self.seed = random.randrange(2**32) if seed is None else seed
        self._engine, self._pause = engine, pause
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(threads)]
        self._failures: list[tuple[BaseException, str | None]] = []
        self.done = 0
        self._lock = threading.Lock()

    def __enter__(self) -> "Churn":
        print(f"churn with seed {self.seed}")
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        seconds = time.monotonic() - self._began
        print(f"churn: {self.done} operations in {seconds:.0f} s, {self.done / seconds:.1f} a second")
        assert not self._failures, f"the load itself failed: {self._failures}"

    def keep_on(self, seconds: float) -> None:
        """Lets it go on for so long."""
        time.sleep(seconds)

    def _work(self, number: int) -> None:
        dice = random.Random(f"{self.seed}/{number}")
        client = docker.DockerClient(base_url=self._engine.address, timeout=120)
        mine, made = [], 0
        try:
            while not self._stop.is_set():
                if len(mine) < KEPT and (not mine or dice.random() < 0.3):
                    made += 1
                    mine.append(self._create(client, dice, f"{number}-{made}"))
                else:
                    container = dice.choice(mine)
                    self._change(container, dice, f"{number}-{made}", mine)
                with self._lock:
                    self.done += 1
                self._stop.wait(self._pause)
        except BaseException as error:  # a thread's failure is the test's
            self._failures.append((error, getattr(error, "explanation", None)))
        finally:
            client.close()

    def _create(self, client: docker.DockerClient, dice: random.Random, name: str):
        labels = {}
        if dice.random() < 0.5:
            labels["com.docker.compose.project"] = dice.choice(["shop", "blog"])
            labels["com.docker.compose.service"] = dice.choice(["web", "db", "queue"])
        name = f"churn-{self._engine.run_id}-{self.seed}-{name}"
        return self._engine.create(dice.choice(COMMANDS), client=client, name=name, labels=labels)

    def _change(self, container, dice: random.Random, name: str, mine: list) -> None:
        what = dice.choices(["start", "stop", "kill", "rename", "remove"], [5, 2, 2, 1, 2])[0]
        try:
            if what == "start":
                container.start()
            elif what == "stop":
                container.stop(timeout=dice.choice([0, 1]))
            elif what == "kill":
                container.kill()
            elif what == "rename":
                container.rename(f"churn-{self._engine.run_id}-{self.seed}-{name}-{dice.randrange(10**9)}")
            else:
                mine.remove(container)
                container.remove(force=True)
        except NotFound:
            pass
        except APIError as error:
            # Not startable (`not-in-the-path`), or not running when it was to be killed: part of the load.
            if error.status_code not in (304, 400, 404, 409) and "not-in-the-path" not in str(error):
                raise
