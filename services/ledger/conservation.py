"""Whether every update is accounted for: the two equations that must hold at every instant (INVARIANTS I2).

    admitted(W) = counted + refused + abandoned + open        for the window W that an update's signed header names
    first deliveries = admitted                               deliveries = first + duplicates + unauthenticated

An update that has ended without a receipt has not ended, and one is counted only in a release whose size says so. Rows
that were cleaned up (`past.py`) are counted where they stood.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from services.ledger import deliveries, past
from services.ledger.tables import RELEASES, UPDATES, WINDOWS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Select

ENDINGS: Final = ("counted", "refused", "abandoned")
OUTCOMES: Final = ("open", *ENDINGS)
STATES: Final = ("open", "released", "abandoned")


@dataclass(frozen=True)
class Accounts:
    """How many updates, deliveries and windows there are of each sort, and how many updates are not accounted for."""

    outcomes: Mapping[str, int]
    refused: Mapping[str, int]
    deliveries: Mapping[str, int]
    windows: Mapping[str, int]
    window: int
    version: int
    difference: int


def accounts(tx: Connection, federation: str) -> Accounts:
    """What the ledger holds of this federation, read in one view of it."""
    ended = func.count(UPDATES.c.receipt)
    keys = (UPDATES.c.named_window, UPDATES.c.outcome, UPDATES.c.reason)
    rows = tx.execute(select(*keys, func.count(), ended).where(UPDATES.c.federation == federation).group_by(*keys))
    outcomes, refused, gaps = Counter[str](), Counter[str](), Counter[int]()
    for window, outcome, reason, count, receipts in rows:
        outcomes[outcome] += count
        if outcome == "refused":
            refused[reason or ""] += count
        gaps[window] += count - (count if outcome == "open" else receipts if outcome in ENDINGS else 0)
    for gone in past.counts(tx, federation):
        outcomes[gone.outcome] += gone.count
        if gone.outcome == "refused":
            refused[gone.reason] += gone.count
        gaps[gone.named_window] += 0 if gone.outcome in ENDINGS else gone.count
    delivered = deliveries.counted(tx, federation)
    unlike = delivered.get("first", 0) - outcomes.total()
    return Accounts(
        outcomes=outcomes,
        refused=refused,
        deliveries=delivered,
        windows=_windows(tx, federation),
        window=_most(tx, select(func.max(WINDOWS.c.number)).where(WINDOWS.c.federation == federation)),
        version=_most(tx, select(func.max(RELEASES.c.version)).where(RELEASES.c.federation == federation)),
        difference=sum(map(abs, gaps.values())) + abs(unlike) + _miscounted(tx, federation),
    )


def _windows(tx: Connection, federation: str) -> dict[str, int]:
    wanted = select(WINDOWS.c.state, func.count()).where(WINDOWS.c.federation == federation).group_by(WINDOWS.c.state)
    return _counts(tx, wanted)


def _miscounted(tx: Connection, federation: str) -> int:
    """Updates that are counted in no release, and members of releases that are no counted updates."""
    counted = (UPDATES.c.federation == federation, UPDATES.c.outcome == "counted")
    of_rows = select(UPDATES.c.version, func.count()).where(*counted).group_by(UPDATES.c.version)
    of_releases = select(RELEASES.c.version, RELEASES.c.members).where(RELEASES.c.federation == federation)
    gaps = Counter(_counts(tx, of_rows))
    for gone in past.counts(tx, federation):
        gaps[gone.version] += gone.count if gone.outcome == "counted" else 0
    gaps.subtract(_counts(tx, of_releases))
    return sum(map(abs, gaps.values()))


def _counts(tx: Connection, wanted: Select[Any]) -> dict[Any, int]:
    return {row[0]: row[1] for row in tx.execute(wanted)}


def _most(tx: Connection, wanted: Select[Any]) -> int:
    return int(tx.execute(wanted).scalar() or 0)
