"""Chaos: a federation is hurt at random for some minutes, then healed, drained and judged.

What befalls it follows from the seed. What came of it is judged by a program that shares no code with it, from the
ledger, the devices' outboxes and what a witness heard at the broker.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, get_args

from rich.console import Console
from rich.table import Table

from mizzle.errors import Away, Misconfigured
from services.local.federation import SERVICES
from services.local.inflict import End, inflict
from services.local.janitor import workplace
from services.local.judgement import need_judge
from services.local.misfortune import LEAST_A_MINUTE, Misfortune, Places, moments, schedule
from services.local.ordeal import Terms, ordeal
from services.local.store import Aof

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.local.judgement import Judgement
    from services.local.ordeal import Ordeal

OK, WRONG, UNHEALTHY = 0, 9, 10
CLEAN_WINDOW_S: Final = 10.0
"""Within so many seconds of healing a window is to be released."""

_PATIENCE_S: Final = 60.0
_DRAIN_S: Final = 120.0


@dataclass
class Run:
    """What a chaos run did and saw, apart from what the judge says of it; what did not happen in time is None."""

    seed: int
    minutes: float
    devices: int
    aof: Aof
    faults: Counter[str] = field(default_factory=Counter)
    hurt_s: float = 0.0
    clean_window_s: float | None = None
    drain_s: float | None = None
    windows: dict[str, int] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)


def durability(seed: int) -> Aof:
    """How durable Redis is in the run of this seed, unless it is said: each way in turn."""
    return get_args(Aof)[seed % len(get_args(Aof))]  # type: ignore[no-any-return]  # one of its words


def chaos(run: Run, report: Path | None, keep: Path | None) -> int:
    """Run it, print the verdict and write it to `report`; return 0, or 9 where the judge finds something, else 10.

    What is left of it is copied into the new folder `keep`, if one is given.

    Raises:
        Misconfigured: something that it needs is missing here.
        Away: it was never well enough to be hurt.
    """
    need_judge()
    if report is not None and (report.is_dir() or not report.parent.is_dir()):
        raise Misconfigured(f"--json names a file in a folder that is there; got {report}")
    if keep is not None and keep.exists():
        raise Misconfigured(f"--keep names a folder that is not there yet; got {keep}")
    with workplace() as folder:
        judgement = lived(folder, run)
        if keep is not None:
            shutil.copytree(folder, keep, ignore=shutil.ignore_patterns("keys"))
    return told(run, judgement, Console(highlight=False, soft_wrap=True), report)


def lived(folder: Path, run: Run) -> Judgement:
    """Hurt, heal, drain and judge a federation in `folder`.

    Raises:
        Away: it never released a window.
    """
    terms = Terms(devices=run.devices, aof=run.aof)
    with ordeal(folder, terms) as there:
        began = time.monotonic()
        say = partial(_say, began)
        say(f"seed {run.seed}: {run.devices} devices, appendfsync {run.aof}")
        say(f"the first window is released {there.first_window():.1f} s later")
        earlier = _hurt(there, run, say)
        _heal(there, run, say)
        run.windows = there.sight.states()
        return there.verdict(earlier)


def _hurt(there: Ordeal, run: Run, say: Callable[[str], None]) -> Path:
    """Let everything befall it that is scheduled; where the ledger lies as it was in the middle."""
    misfortunes = schedule(run.seed, run.minutes * 60, Places(SERVICES, there.fleets, tuple(there.ways)))
    began, ends = time.monotonic(), dict[Misfortune, End]()
    earlier = there.federation.folder / "earlier.db"
    for moment in moments(misfortunes):
        _watch(there, began + moment.at_s - time.monotonic(), say)
        if moment.what == misfortunes[len(misfortunes) // 2] and moment.begins:
            there.copy_ledger(earlier)
        if moment.begins:
            _begin(there, moment.what, ends, run, say)
        elif (end := ends.pop(moment.what, None)) is not None:
            end()
            say(f"over: {moment.what}")
    _watch(there, began + run.minutes * 60 - time.monotonic(), say)
    run.hurt_s = time.monotonic() - began
    return earlier


def _begin(there: Ordeal, what: Misfortune, ends: dict[Misfortune, End], run: Run, say: Callable[[str], None]) -> None:
    end = inflict(there, what)
    if end is None:
        say(f"could not befall it just now: {what}")
        return
    run.faults[what.kind] += 1
    ends[what] = end
    say(str(what))


def _heal(there: Ordeal, run: Run, say: Callable[[str], None]) -> None:
    """Heal it, await a clean window, and let it drain; what does not come in time is a trouble of the run."""
    there.heal()
    say("healed")
    try:
        run.clean_window_s = there.clean_window(_PATIENCE_S)
        say(f"a clean window after {run.clean_window_s:.1f} s")
        run.drain_s = there.drain(_DRAIN_S)
        say(f"drained after {run.drain_s:.1f} s")
    except Away as away:
        run.troubles.append(str(away))
        say(str(away))


def _watch(there: Ordeal, seconds: float, say: Callable[[str], None]) -> None:
    """Look after the processes for so long, and tell which have ended."""
    for child in there.endings(seconds):
        words = child.last_words.splitlines()[-1:] if (child.returncode or 0) > 0 else []
        say(f"{child.name} has ended with {child.returncode} {' '.join(words)[:200]}".rstrip())


def _say(began: float, line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {time.monotonic() - began:7.2f} s  {line}\n")
    sys.stderr.flush()


def told(run: Run, judgement: Judgement, console: Console, report: Path | None = None) -> int:
    """Print what came of it, write it to `report`, and return the exit status that follows from it."""
    figures = figures_of(run, judgement)
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in figures.items():
        if not isinstance(value, dict | list):
            table.add_row(name, str(value))
    console.print(table)
    console.print(", ".join(f"{count} × {kind}" for kind, count in sorted(run.faults.items())))
    wrong, unwell = complaints(run, judgement)
    for complaint in (*wrong, *unwell):
        console.print(f"FAILED: {complaint}")
    status = WRONG if wrong else UNHEALTHY if unwell else OK
    if report:
        report.write_text(json.dumps({**figures, "complaints": [*wrong, *unwell], "status": status}, indent=1) + "\n")
    return status


def figures_of(run: Run, judgement: Judgement) -> dict[str, object]:
    """Everything that is reported of a run, by name."""
    seen = judgement.seen
    return {
        **judgement.figures,
        "findings": list(judgement.findings),
        "faults": run.faults.total(),
        "faults_by_kind": dict(sorted(run.faults.items())),
        "seconds_to_clean_window": None if run.clean_window_s is None else round(run.clean_window_s, 2),
        "seconds_to_drain": None if run.drain_s is None else round(run.drain_s, 2),
        "updates": sum(seen[outcome] for outcome in ("counted", "refused", "abandoned", "open")),
        **{outcome: seen[outcome] for outcome in ("counted", "refused", "abandoned", "open", "waiting")},
        "windows_released": run.windows.get("released", 0),
        "windows_abandoned": run.windows.get("abandoned", 0),
        "seed": run.seed,
        "minutes": run.minutes,
        "devices": run.devices,
        "appendfsync": run.aof,
    }


def complaints(run: Run, judgement: Judgement) -> tuple[list[str], list[str]]:
    """What is wrong, by the judge; and what is only not well."""
    wrong = [f"{name} is {value}, wanted 0" for name, value in judgement.figures.items() if value]
    wrong += [f"{one['code']}: {one['subject']}. {one['sentence']}" for one in judgement.findings]
    unwell = list(run.troubles)
    if run.clean_window_s is not None and run.clean_window_s > CLEAN_WINDOW_S:
        unwell.append(
            f"the first clean window came {run.clean_window_s:.1f} s after healing, wanted {CLEAN_WINDOW_S:g}"
        )
    wanted = LEAST_A_MINUTE * run.hurt_s / 60
    if run.faults.total() < wanted:
        unwell.append(f"{run.faults.total()} faults in {run.hurt_s:.0f} s are too few, wanted {wanted:.0f} at least")
    if judgement.seen["waiting"] or judgement.seen["open"]:
        unwell.append(f"{judgement.seen['waiting']} updates still wait, {judgement.seen['open']} are still open")
    return wrong, unwell
