"""The system, empty: everything runs, nobody is enrolled, and whoever wants to begin is told how."""

from __future__ import annotations

import sys
from itertools import cycle
from typing import TYPE_CHECKING

from rich.console import Console

from examples.watch import PLAN, TRAINING
from services.ledger.founding import planned, without_end
from services.local.federation import running
from services.local.janitor import workplace
from services.local.verdict import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def up(plan_file: Path | None, devices: tuple[str, ...]) -> None:
    """Run a federation of the plan until this process is told to end; a token is printed for each of `devices`.

    Raises:
        Misconfigured: the plan, or something that the federation needs, is wrong or missing.
    """
    console = Console(highlight=False, soft_wrap=True)  # a line that is to be copied stays one
    plan, model = planned(plan_file or PLAN)
    if plan_file is None:  # the demo ends after so many windows; whoever is up stays
        plan = without_end(plan)
    with workplace() as folder, running(folder, plan, model, keep_payloads=False) as federation:
        console.print(f"Federation {plan.federation} runs: broker {federation.broker_url}, logs in {folder}/log.")
        for device, wrist in zip(devices, cycle(TRAINING), strict=False):
            console.print(f"\nTo enrol {device}, run this beside its training script:")
            console.print(
                f"  cd {ROOT} && MIZZLE_BROKER={federation.broker_url} MIZZLE_HOME=~/.mizzle/{device}"
                f" MIZZLE_TOKEN={federation.founded.token(device)} WATCH_WRIST={wrist}"
                f" {sys.executable} -m examples.device_numpy",
            )
        key = federation.founded.public_keys["release"].hex()
        console.print(
            f"\nTo follow its releases:\n  cd {ROOT} && {sys.executable} -m examples.integrator"
            f" {federation.broker_url} {plan.federation} {key}"
        )
        quorum = plan.window.quorum
        console.print(
            f"\nA window opens as soon as {plan.window.invited} devices are there, or {quorum} after a while."
        )
        console.print("Ctrl-C ends it and leaves nothing behind.")
        while True:
            for child in federation.processes.tend(1.0):
                console.print(f"{child.name} ended with {child.returncode} and is started again; see {child.log}")
