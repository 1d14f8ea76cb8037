"""Restorations: what a ledger that was put back does not know, and the marks between which nothing may go out.

ADR 18: the newest release that it knew is `known_version`; all up to `version` went out and are lost. The same of its
windows. It goes on under a version that nobody has seen, `base_version`, and after a window that nobody was in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .books import Act, Restoration
from .ledger import Ledger
from .plan import said_at, written

_FOREVER: Final = 1 << 63


@dataclass(frozen=True)
class Gap:
    """What one restoration left out, and where it stands in the log."""

    row: Restoration
    restored: Act | None
    resumed: Act | None
    known_version: int
    known_window: int

    @property
    def newest_version(self) -> int:
        """The newest release that may be lost; no bound while nobody has said one."""
        return self.row.version if self.row.resumed_at is not None else _FOREVER

    @property
    def newest_window(self) -> int:
        """The newest window that may be lost; no bound while nobody has said one."""
        return self.row.window if self.row.resumed_at is not None else _FOREVER

    @property
    def lost_releases(self) -> int:
        """How many releases went out that the ledger does not know."""
        return max(self.row.version - self.known_version, 0)

    def loses_version(self, version: int) -> bool:
        """Whether a release of this version may have gone out and be lost."""
        return self.known_version < version <= self.newest_version

    def loses_window(self, window: int) -> bool:
        """Whether a window of this number may have been open and be lost."""
        return self.known_window < window <= self.newest_window

    def is_within(self, act: Act) -> bool:
        """Whether this was done while the ledger waited for a person.

        What was open in it is given up then, or right after, if the person was sooner than the services.
        """
        after = self.restored is not None and act.seq > self.restored.seq
        was_open = act.action == "window.abandoned" and act.number is not None and act.number <= self.known_window
        return after and (was_open or self.resumed is None or act.seq < self.resumed.seq)


@lru_cache(maxsize=64)
def gaps(ledger: Ledger, federation: str) -> tuple[Gap, ...]:
    """Every time that this federation was marked, in order; times of one restoration differ in their place alone."""
    acts = [act for act in ledger.audit if act.federation == federation]
    rows = sorted((one for one in ledger.restorations if one.federation == federation), key=lambda one: one.number)
    found: list[Gap] = []
    logged = _marks(acts)
    for place, row in enumerate(rows):
        marks = logged[place] if place < len(logged) else (None,)
        found += list(_of(row, marks, acts, found))
    return tuple(found)


def _marks(acts: list[Act]) -> list[tuple[Act, ...]]:
    """By each restoration, where the log has it: a ledger that waits for a person may be found old again and again."""
    found: list[tuple[Act, ...]] = []
    waits = False
    for act in acts:
        if act.action == "ledger.restored":
            found = [*found[:-1], (*found[-1], act)] if waits else [*found, (act,)]
            waits = True
        waits = waits and act.action != "ledger.resumed"
    return found


def _of(row: Restoration, marks: Sequence[Act | None], acts: list[Act], earlier: Sequence[Gap]) -> Iterator[Gap]:
    first = marks[0]
    before = [act for act in acts if first is None or act.seq < first.seq]
    version = max([*_numbers(before, "version"), *(gap.row.base_version or 0 for gap in earlier)], default=0)
    window = max([*_windows(before), *(gap.row.window for gap in earlier)], default=0)
    lifted = (act for act in acts if first and act.action == "ledger.resumed" and act.seq > first.seq)
    resumed = next(lifted, None)
    yield from (Gap(row, mark, resumed, version, window) for mark in marks)


def _numbers(acts: list[Act], name: str) -> Iterator[int]:
    for act in acts:
        number = said_at(written(act), name)
        if act.action == "window.released" and isinstance(number, int):
            yield number


def _windows(acts: list[Act]) -> Iterator[int]:
    yield from (act.number for act in acts if act.action == "window.opened" and act.number is not None)


def aliases(ledger: Ledger, federation: str) -> dict[int, int]:
    """By each version under which a restored ledger went on, the version of the model that it is."""
    found: dict[int, int] = {}
    for gap in gaps(ledger, federation):
        base = gap.row.base_version
        if base is not None and base != gap.known_version:
            found[base] = found.get(gap.known_version, gap.known_version)
    return found


def is_skipped(ledger: Ledger, federation: str, window: int) -> bool:
    """Whether a restored ledger wrote this window as one that nobody was in."""
    ours = gaps(ledger, federation)
    return any(gap.row.resumed_at is not None and gap.row.window == window > gap.known_window for gap in ours)


def lost_windows(ledger: Ledger, federation: str) -> list[tuple[int, int]]:
    """From which to which number windows may be lost, by each restoration."""
    return [(gap.known_window + 1, gap.newest_window) for gap in gaps(ledger, federation)]


def lost_versions(ledger: Ledger, federation: str) -> list[tuple[int, int]]:
    """From which to which version releases may be lost, by each restoration."""
    return [(gap.known_version + 1, gap.newest_version) for gap in gaps(ledger, federation)]


def loses_window(ledger: Ledger, federation: str, window: int) -> bool:
    """Whether a window of this number may have been open and be lost."""
    return any(gap.loses_window(window) for gap in gaps(ledger, federation))


def loses_version(ledger: Ledger, federation: str, version: int) -> bool:
    """Whether a release of this version may have gone out and be lost."""
    return any(gap.loses_version(version) for gap in gaps(ledger, federation))
