"""Faults on real servers: each once, or at random for a time, one after another and two at a time.

  python tests/chaos                       each fault once
  python tests/chaos -k nats               those whose name has this in it
  python tests/chaos --seconds 1800        at random, for so long
"""

import argparse
import random
import signal
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import report  # noqa: E402
from faults import all_faults, for_chaos  # noqa: E402
from faults.base import Fault  # noqa: E402
from harness.paths import BINARY, ROOT  # noqa: E402
from rounds import END, Outcome, run  # noqa: E402
from world import Plan, World  # noqa: E402

# So often two faults are on at once.
PAIRS = 0.4
# Violations of a round that are printed; the file of it has all.
SHOWN_MAX = 20


def main() -> int:
    arguments = parse()
    if not BINARY.exists():
        print(f"{BINARY} is missing: run `make build`, or set DECKWATCH_BIN", file=sys.stderr)
        return 2
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    plan = Plan(seed, arguments.rate, arguments.servers)
    folder = arguments.keep / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True)
    print(f"seed {seed}, {plan.rate:g} events a second, {plan.servers} nats-server(s), in {folder}", flush=True)
    worlds = Worlds(folder, plan)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        rounds = at_random if arguments.seconds else each_once
        outcomes = list(rounds(worlds, arguments))
    finally:
        worlds.end()
    outcomes += worlds.ends
    print(report.table(outcomes))
    report.write(folder / "report.json", vars(plan) | {"seconds": arguments.seconds}, outcomes)
    violations = sum(len(outcome.violations) for outcome in outcomes)
    records = sum(outcome.records for outcome in outcomes)
    print(f"{len(outcomes)} rounds, {records} records checked, {violations} violations; {folder}/report.json")
    return 1 if violations or not outcomes else 0


def parse() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__, formatter_class=formatter)
    parser.add_argument("-k", metavar="TEXT", default="", help="faults whose name has this in it; several by commas")
    parser.add_argument("--seconds", type=float, help="at random, for so long; without it each fault once")
    parser.add_argument("--seed", type=int, help="of the load and of the order of faults [default: any]")
    parser.add_argument("--rate", type=float, default=200, help="events a second, of all engines [default: 200]")
    parser.add_argument("--servers", type=int, choices=(1, 3), default=1, help="nats-servers [default: 1]")
    parser.add_argument("--keep", type=Path, default=ROOT / "target" / "chaos", help="where reports and logs go")
    parser.add_argument("--list", action="store_true", help="name the faults, and do nothing")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(fault.name for fault in wanted(for_chaos(), arguments.k)))
        raise SystemExit(0)
    return arguments


def wanted(faults: list[Fault], text: str) -> list[Fault]:
    return [fault for fault in faults if any(part in fault.name for part in text.split(","))]


class Worlds:
    """One installation after another: a new one after each violation, so that one finding is not another's cause."""

    def __init__(self, folder: Path, plan: Plan):
        self._folder, self._plan, self._number = folder, plan, 0
        self._world: World | None = None
        # What was found when each of them ended.
        self.ends: list[Outcome] = []

    def now(self) -> World:
        if self._world is None:
            self._number += 1
            world = World(self._folder / f"{self._number}", self._plan)
            with (self._folder / "waits.log").open("a") as log, redirect_stdout(log):
                self._world = world.__enter__()
        return self._world

    def round(self, faults: list[Fault]) -> Outcome:
        world = self.now()
        with (self._folder / "waits.log").open("a") as log, redirect_stdout(log):
            print(f"== {[fault.name for fault in faults]}")
            outcome = run(world, faults)
        seconds = "never right" if outcome.seconds is None else f"right after {outcome.seconds:.1f} s"
        names = " + ".join(outcome.faults)
        print(f"{names}: {outcome.events} events, {outcome.records} records, {seconds}", flush=True)
        if outcome.violations:
            for violation in outcome.violations[:SHOWN_MAX]:
                print(f"  VIOLATION {violation}", flush=True)
            (world.folder / "violations.txt").write_text("\n".join([*outcome.faults, *outcome.violations]) + "\n")
            print(f"  kept: {world.folder}", flush=True)
        if outcome.violations or any(fault.spoils for fault in faults):
            self.give_up()
        return outcome

    def give_up(self) -> None:
        """Nothing more is to be learnt from this one."""
        world, self._world = self._world, None
        with (self._folder / "waits.log").open("a") as log, redirect_stdout(log):
            print(f"ended, and that of it nobody minds: {world.end()}")

    def end(self) -> None:
        """Everything is looked at once more, and everything ends as it should."""
        world, self._world = self._world, None
        if world is None:
            return
        outcome = Outcome([END], records=world.ledger.records)
        with (self._folder / "waits.log").open("a") as log, redirect_stdout(log):
            try:
                outcome.violations += world.read_all()
            finally:
                outcome.violations += world.end()
        self.ends.append(outcome)
        for violation in outcome.violations[:SHOWN_MAX]:
            print(f"  VIOLATION at the end: {violation}", flush=True)


def each_once(worlds: Worlds, arguments: argparse.Namespace):
    for fault in wanted(all_faults(), arguments.k):
        if fault.possible(worlds.now()):
            yield worlds.round([fault])


def at_random(worlds: Worlds, arguments: argparse.Namespace):
    dice, until = random.Random(worlds.now().plan.seed), time.monotonic() + arguments.seconds
    while time.monotonic() < until:
        world = worlds.now()
        faults = [fault for fault in wanted(for_chaos(), arguments.k) if fault.possible(world)]
        chosen = [dice.choice(faults)]
        if dice.random() < PAIRS:
            chosen += dice.sample([each for each in faults if not each.parts & chosen[0].parts] or chosen, 1)
        yield worlds.round(list(dict.fromkeys(chosen)))


if __name__ == "__main__":
    sys.exit(main())
