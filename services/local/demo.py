"""The demo: twenty wrists, fifteen windows, four misfortunes, and the evidence that nothing was lost or doubled."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from examples.alone import alone
from examples.watch import PLAN, TRAINING
from mizzle.accounting import sentence
from mizzle.errors import Away
from services.local import evidence
from services.local.federation import Federation, planned, running
from services.local.janitor import workplace
from services.local.scene import Scene
from services.local.sight import Sight
from services.local.story import ROOT, Story, start_fleets, waiting

if TYPE_CHECKING:
    from mizzle.plan import Plan

MOST_SECONDS: Final = 180
OK, FAILED, PRIVACY_REFUSED = 0, 1, 7

NEXT: Final = """
Next:
  make up                                    the same system, empty, for your own devices
  less examples/device_numpy.py              a whole device, fifteen lines
  less ARCHITECTURE.md                       where everything lives"""


@dataclass(frozen=True)
class Wishes:
    """What the user asked of the demo."""

    seed: int
    budget: float | None = None
    report: Path | None = None


def demo(wishes: Wishes) -> int:
    """Run the demo, tell it on stdout, and return the exit status of DESIGN 12.

    Raises:
        Misconfigured: something that the demo needs is missing here.
        Away: the federation did not come to its end in time.
    """
    console = Console(highlight=False, soft_wrap=True)
    plan, model = planned(PLAN, wishes.budget)
    began = time.monotonic()
    with workplace() as folder, running(folder, plan, model, keep_payloads=True) as federation:
        console.print(
            f"Mizzle trains {plan.model.name} on {len(TRAINING)} wrists over {federation.broker.kind} and Redis.\n"
        )
        story = _played(federation, wishes.seed, console)
        return _told(federation, story, wishes, console, time.monotonic() - began)


def _played(federation: Federation, seed: int, console: Console) -> Story:
    """The story from the first window to the end of the federation."""
    fleets = start_fleets(federation, TRAINING, seed)
    until = time.monotonic() + MOST_SECONDS
    with Scene(console) as scene:
        story = Story(federation, scene, Sight(federation.ledger_file, federation.plan.federation), fleets)
        while not story.is_over:
            if time.monotonic() > until:
                waits = waiting(federation.homes)
                raise Away(f"the federation was to end within {MOST_SECONDS} s and has not; {waits} updates still wait")
            story.turn()
    return story


def _told(federation: Federation, story: Story, wishes: Wishes, console: Console, wall_s: float) -> int:
    """What the evidence says, and the exit status that follows from it."""
    halt = story.sight.halt()
    if halt and halt[0] == "budget":
        console.print(f"\nStopped: {halt[1]}")
        return PRIVACY_REFUSED
    found = evidence.read(
        federation.ledger_file,
        federation.homes,
        killed=[story.killed] if story.killed else [],
        accuracies=[accuracy for _, accuracy in sorted(story.accuracies.items())],
        accuracy_alone=_alone(federation.plan),
        wall_s=round(wall_s, 1),
    )
    complaints = evidence.complaints(found)
    complaints += _replayed(federation, console)
    if wishes.report:
        wishes.report.write_text(json.dumps(found.to_json(), indent=1) + "\n")
    _print_end(found, federation.plan, console)
    for complaint in complaints:
        console.print(f"FAILED: {complaint}", style="bold red")
    console.print(NEXT)
    return FAILED if complaints else OK


def _alone(plan: Plan) -> float:
    windows = plan.window.windows or 1
    settings = tomllib.loads(PLAN.read_text())["train"]
    return alone(settings, windows * settings["epochs"])


def _replayed(federation: Federation, console: Console) -> list[str]:
    """Rebuild every release from ledger and payloads, by a program that shares nothing with the services."""
    argv = [sys.executable, "-m", "examples.replay", str(federation.ledger_file), str(federation.payloads)]
    done = subprocess.run(
        [*argv, str(federation.auditor_key_file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
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
    console.print(sentence(found.epsilon, plan.privacy.delta))
    console.print("Sixteen wrists hide nobody: 160 would have ε 9.6, 1,600 ε 0.7 at the same accuracy.", soft_wrap=True)
