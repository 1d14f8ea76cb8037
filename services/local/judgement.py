"""What the independent judge says of a federation's evidence: it is run as a program, and shares no code with us."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from mizzle.errors import Misconfigured
from services.local.federation import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CLEAN, WRONG = 0, 9
JUDGE = "examples.judge"


class Judgement(msgspec.Struct, frozen=True):
    """The judge's figures, each of which ought to be nought, all that it found wrong, and how much it saw."""

    lost: int
    doubled: int
    receipts_without_ledger_row: int
    conservation_difference: int
    findings: tuple[dict[str, Any], ...]
    seen: dict[str, int]

    @property
    def is_clean(self) -> bool:
        """Whether nothing at all is wrong."""
        return not (self.findings or any(self.figures.values()))

    @property
    def figures(self) -> dict[str, int]:
        """The figures by name."""
        return {
            name: getattr(self, name)
            for name in ("lost", "doubled", "receipts_without_ledger_row", "conservation_difference")
        }


def need_judge(checkout: Path = ROOT) -> None:
    """Return if there is a judge in the checkout.

    Raises:
        Misconfigured: there is none.
    """
    if not (program := checkout.joinpath(*JUDGE.split("."), "__main__.py")).is_file():
        raise Misconfigured(f"the judge, `python -m {JUDGE}`, is not in this checkout: get {program}")


def judged(
    ledger: Path, homes: Path, report: Path, *, trace: Path | None = None, earlier: Path | None = None
) -> Judgement:
    """What the judge says of these files; it writes it to `report` as well.

    Raises:
        Misconfigured: there is no judge in this checkout.
        RuntimeError: it could not read the evidence, or fell.
    """
    need_judge()
    given = [str(ledger), "--homes", str(homes), "--json", str(report)]
    given += [part for name, file in (("--trace", trace), ("--earlier", earlier)) if file for part in (name, str(file))]
    done = subprocess.run([sys.executable, "-m", JUDGE, *given], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in {CLEAN, WRONG}:
        raise RuntimeError(f"the judge ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    found = msgspec.json.decode(report.read_bytes(), type=Judgement)
    if found.is_clean != (done.returncode == CLEAN):
        raise RuntimeError(f"the judge ended with {done.returncode} and reported {found.figures}")
    return found
