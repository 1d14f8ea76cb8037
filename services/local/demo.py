"""The demo: sixteen wrists, fifteen windows, four misfortunes, and the evidence that nothing was lost or doubled."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from rich.console import Console

from examples.watch import PLAN, TRAINING
from mizzle.errors import Away, Misconfigured
from services.ledger.founding import planned
from services.local.federation import Federation, running, with_budget
from services.local.janitor import workplace
from services.local.scene import Scene
from services.local.sight import Sight, waiting
from services.local.story import Story, start_fleets
from services.local.verdict import Played, judged

if TYPE_CHECKING:
    from pathlib import Path

MOST_SECONDS: Final = 180
DEFAULT_SEED: Final = 0
DEFAULT_LEAST, LEAST = 0.77, 0.75


def demo(seed: int, budget: float | None = None, report: Path | None = None) -> int:
    """Run the demo, tell it on stdout, write the evidence to `report`; return the exit status of DESIGN 12.

    Raises:
        Misconfigured: something that the demo needs is missing here.
        Away: the federation did not come to its end in time.
    """
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    if report is not None and (report.is_dir() or not report.parent.is_dir()):
        raise Misconfigured(f"--json names a file in a folder that is there; got {report}")
    plan, model = planned(PLAN)
    if budget is not None:
        plan = with_budget(plan, budget)
    with workplace() as folder, running(folder, plan, model, keep_payloads=True) as federation:
        where = f"{federation.broker.kind} and Redis"
        console.print(f"Mizzle trains {plan.model.name} on {len(TRAINING)} wrists over {where}.\n")
        return judged(play(federation, seed, console), console, report)


def play(federation: Federation, seed: int, console: Console) -> Played:
    """The story from the first window to the end of the federation.

    Raises:
        Away: it did not come to its end in time.
    """
    began = time.monotonic()
    fleets = start_fleets(federation, TRAINING, seed)
    with Scene(console) as scene:
        story = Story(federation, scene, Sight(federation.ledger_file, federation.plan.federation), fleets)
        while not story.is_over:
            if time.monotonic() - began > MOST_SECONDS:
                waits = waiting(federation.homes)
                raise Away(f"the federation was to end within {MOST_SECONDS} s and has not; {waits} updates still wait")
            story.turn()
        story.show()
    return Played(
        plan=federation.plan,
        ledger=federation.ledger_file,
        homes=federation.homes,
        payloads=federation.payloads,
        auditor_key=federation.auditor_key_file,
        killed=story.killed,
        accuracies=tuple(accuracy for _, accuracy in sorted(story.accuracies.items())),
        halt=story.sight.halt() or ("", ""),
        wall_s=round(time.monotonic() - began, 1),
        least_accuracy=DEFAULT_LEAST if seed == DEFAULT_SEED else LEAST,
    )
