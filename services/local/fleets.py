"""Fleets as children of this process: each is described by a file and run by `services.local.fleet`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import msgspec

from services.ledger.private import write_private
from services.local.federation import ROOT

if TYPE_CHECKING:
    from services.local.child import Child
    from services.local.fleet import Fleet
    from services.local.processes import Processes


def start_fleet(processes: Processes, name: str, fleet: Fleet, *, keep: bool = False) -> Child:
    """Start these devices in a process called `name`, whose file holds their tokens; `keep` as in `Processes.start`."""
    file = processes.folder / f"{name}.json"
    write_private(file, msgspec.json.encode(fleet).decode())
    argv = [sys.executable, "-m", "services.local.fleet", str(file)]
    paths = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    return processes.start(name, argv, {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}, keep=keep)
