"""Simulate many seeds: `python -m tests.simulation [--seeds N] [--from S] [--devices N] [--minutes M] [--away N]`.

One line per seed. A broken promise ends it with exit 9, the violation in words, its seed, and the last of its history.
"""

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from tests.simulation.absence import away
from tests.simulation.faults import MINUTE_MS, Rates
from tests.simulation.fleet_plan import Wish
from tests.simulation.oracle import Violation
from tests.simulation.runs import Course, Report, run

WRONG = 9


def main() -> int:
    """Simulate what is asked for; 0 if nothing was found, 9 if something was."""
    asked = _arguments().parse_args()
    logging.disable(logging.CRITICAL)
    goal = max(3, asked.devices // 4)
    wish = Wish(devices=asked.devices, goal=goal, quorum=max(2, goal // 2))
    folds = Course(wish, Rates(), rough_ms=asked.minutes * MINUTE_MS, look_every=max(1, asked.devices // 10))
    refuses = replace(folds, wish=replace(wish, late="refuse"))
    faults, points = Counter[str](), Counter[str]()
    try:
        for number in range(asked.first, asked.first + asked.seeds):
            found = _timed(f"seed {number}", partial(run, str(number), refuses if number % 4 == 3 else folds))
            faults.update(found.faults)
            points.update(found.reached)
        if asked.away:
            _timed(f"{asked.away} devices, a day and a week", partial(away, "week", asked.away))
    except Violation as violation:
        _say(f"VIOLATION {violation}", *violation.__notes__)
        return WRONG
    _say("Faults: " + ", ".join(f"{count} × {name}" for name, count in sorted(faults.items())) + ".")
    _say(f"{len(points)} points between two effects were reached {points.total()} times. Nothing is wrong.")
    return 0


def _timed(name: str, simulate: Callable[[], Report]) -> Report:
    began = time.monotonic()
    found: Report = simulate()
    days, seconds = found.virtual_s / 86_400, time.monotonic() - began
    _say(
        f"{name}: {found.updates} updates, {found.windows} windows, {found.releases} releases,"
        f" {sum(found.faults.values())} faults, {found.steps} steps, {days:.2f} days in {seconds:.1f} s,"
        f" history {found.digest[:16]}"
    )
    return found


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many seeds, with faults of every kind")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first of them")
    parser.add_argument("--devices", type=int, default=12, help="how many devices each of these has")
    parser.add_argument("--minutes", type=int, default=30, help="for how long things go wrong, on the virtual clock")
    parser.add_argument("--away", type=int, default=0, help="so many devices besides, half of them away for days")
    return parser


if __name__ == "__main__":
    sys.exit(main())
