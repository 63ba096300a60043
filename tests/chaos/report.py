"""What was done and found, as a table and as JSON."""

import json
from collections import defaultdict
from pathlib import Path

from rounds import END, RIGHT_AGAIN, Outcome


def table(outcomes: list[Outcome]) -> str:
    """One line a fault; what was on together with another one counts for both."""
    by_name: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        for name in outcome.faults:
            if name != END:
                by_name[name].append(outcome)
    lines = ["| fault | times | longest until right, s | violations |", "|---|---|---|---|"]
    for name, found in sorted(by_name.items()):
        seconds = [each.seconds for each in found if each.seconds is not None]
        longest = f"{max(seconds):.1f}" if seconds else "never"
        late = " (late)" if seconds and max(seconds) > RIGHT_AGAIN else ""
        violations = sum(len(each.violations) for each in found)
        lines.append(f"| {name} | {len(found)} | {longest}{late} | {violations} |")
    return "\n".join(lines)


def write(path: Path, plan: dict, outcomes: list[Outcome]) -> None:
    rounds = [vars(outcome) for outcome in outcomes]
    path.write_text(json.dumps({"plan": plan, "right_again_within": RIGHT_AGAIN, "rounds": rounds}, indent=1) + "\n")
