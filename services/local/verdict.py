"""What came of the demo: the evidence read, every release rebuilt, and the exit status that follows."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from examples.alone import alone
from examples.watch import PLAN
from mizzle.accounting import sentence
from services.local import evidence
from services.local.federation import ROOT

if TYPE_CHECKING:
    from rich.console import Console

    from mizzle.plan import Plan

OK, FAILED, PRIVACY_REFUSED = 0, 1, 7

NEXT: Final = """
Next:
  make up                                    the same system, empty, for your own devices
  less examples/device_numpy.py              a whole device, fifteen lines
  less ARCHITECTURE.md                       where everything lives"""


@dataclass(frozen=True)
class Played:
    """A demo that has come to its end: where its things lie, and what was seen from outside."""

    plan: Plan
    ledger: Path
    homes: Path
    payloads: Path
    auditor_key: Path
    killed: evidence.Killed | None
    accuracies: tuple[float, ...]
    halt: tuple[str, str]
    wall_s: float
    least_accuracy: float

    @property
    def was_stopped(self) -> bool:
        """Whether a budget ended it before its time."""
        return self.halt[0] == "budget"


def judged(played: Played, console: Console, report: Path | None = None) -> int:
    """Tell what the evidence says, write it to `report`, and return the exit status that follows from it."""
    found = evidence.read(
        played.ledger,
        played.homes,
        killed=[played.killed] if played.killed else [],
        accuracies=played.accuracies,
        accuracy_alone=_alone(played.plan),
        wall_s=played.wall_s,
    )
    complaints = evidence.contradictions(found) if played.was_stopped else evidence.complaints(found)
    if not played.was_stopped and found.accuracy < played.least_accuracy:
        complaints.append(
            f"the accuracy is {found.accuracy:.3f}, with this seed it is at least {played.least_accuracy}"
        )
    complaints += _replayed(played, console)
    if report:
        report.write_text(json.dumps(found.to_json(), indent=1) + "\n")
    _print_end(found, played.plan, console)
    for complaint in complaints:
        console.print(f"FAILED: {complaint}", style="bold red")
    if played.was_stopped:
        console.print(f"\nStopped before any noise was drawn: {played.halt[1]}.")
    console.print(NEXT)
    if complaints:
        return FAILED
    return PRIVACY_REFUSED if played.was_stopped else OK


def _alone(plan: Plan) -> float:
    windows = plan.window.windows or 1
    settings = tomllib.loads(PLAN.read_text())["train"]
    return alone(settings, windows * settings["epochs"])


def _replayed(played: Played, console: Console) -> list[str]:
    """Rebuild every release from ledger and payloads, by a program that imports nothing of the services."""
    given = (played.ledger, played.payloads, played.auditor_key)
    argv = [sys.executable, "-m", "examples.replay", *map(str, given)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    console.print(f"\nReplay: {lines[-1] if lines else done.stderr.strip()[-500:]}")
    return [] if done.returncode == 0 else [f"the replay ended with {done.returncode}: {done.stdout}{done.stderr}"]


def _print_end(found: evidence.Evidence, plan: Plan, console: Console) -> None:
    console.print(
        f"\nThe late subscriber's accuracy on two people who never train: {found.accuracy:.3f} (last three windows)."
        f" Each wrist alone, with as many epochs: {found.accuracy_alone:.3f}."
    )
    console.print(
        f"Updates: {found.received} = {found.counted} counted + {found.refused} refused + {found.abandoned} abandoned"
        f" + {found.open} open; {found.duplicate} came again and changed nothing."
    )
    console.print(f"The audit chain of {len(found.ledger.audit)} rows is whole.")
    console.print(sentence(found.epsilon, plan.privacy.delta))
    console.print("Sixteen wrists hide nobody: 160 would have ε 9.6, 1,600 ε 0.7 at the same accuracy.", soft_wrap=True)
