"""What is left of updates that ended long ago: their counts, and marks by which they are known when they come again.

A row of an update takes a kilobyte and would stay for ever. Once its receipt is older than any outbox keeps an update
(`RETENTION_MS`), the row goes, in the transaction that adds it to three sums:

    past_updates   how many of the window that it names ended like it, so that both equations of I2 go on balancing
    past_devices   the counter that it was signed under, in the device's marks (`marks.py`), and the newest window named
    budgets        nothing changes: what its charge was stays in the sum; `past_devices.settled` says how much of it

An update that comes again is then known by what its device signed: it names no newer window than those whose rows went,
and its counter is marked. An update that names a newer one is new whatever its counter, so a device that begins again
at lower counters under the same key loses nothing but replays.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from itertools import groupby
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.dialects.sqlite import insert

from mizzle.envelope import unseal
from services.ledger import windows
from services.ledger.marks import NOTHING, Marks
from services.ledger.prepared import Prepared
from services.ledger.tables import CHARGES, PAST_DEVICES, PAST_UPDATES, UPDATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

DAY_MS: Final = 24 * 3_600_000
RETENTION_DAYS: Final = 90
RETENTION_MS: Final = RETENTION_DAYS * DAY_MS
"""How long an update's row outlives its receipt, at least: longer than any device waits for an answer."""

AT_ONCE: Final = 128
"""So many rows go in one transaction: as many as one admits."""


@dataclass(frozen=True)
class Count:
    """So many updates that named this window ended like this; where there is no reason or release, empty or 0."""

    named_window: int
    outcome: str
    reason: str
    version: int
    count: int


@dataclass(frozen=True)
class Past:
    """The marks of one device: counters of updates that ended, and the newest window that any of them names."""

    window: int
    marks: Marks

    def has_ended(self, named_window: int, counter: int) -> bool:
        """Whether an update that is not in the ledger has been there."""
        return named_window <= self.window and self.marks.has_ended(counter)


_FIND: Final = Prepared(
    select(PAST_DEVICES.c.named_window, PAST_DEVICES.c.mark, PAST_DEVICES.c.ended).where(
        PAST_DEVICES.c.federation == bindparam("of"), PAST_DEVICES.c.device == bindparam("whose")
    )
)
_DUE: Final = (UPDATES.c.federation == bindparam("of"), UPDATES.c.ended_at < bindparam("before"))
_IS_ONE_DUE: Final = Prepared(select(UPDATES.c.id).where(*_DUE).limit(1))
_OLDEST: Final = (
    select(
        UPDATES.c.id,
        UPDATES.c.device,
        UPDATES.c.named_window,
        UPDATES.c.outcome,
        UPDATES.c.reason,
        UPDATES.c.version,
        UPDATES.c.sealed,
        CHARGES.c.loss,
    )
    .outerjoin(CHARGES, (CHARGES.c.update == UPDATES.c.id) & (CHARGES.c.state == "settled"))
    .where(*_DUE, func.coalesce(UPDATES.c.window, 0) != bindparam("collecting"))
    .order_by(UPDATES.c.ended_at)
    .limit(bindparam("most"))
)
_MORE: Final = insert(PAST_UPDATES).values(
    **{name: bindparam(name) for name in ("federation", "named_window", "outcome", "reason", "version", "count")}
)
_COUNT: Final = Prepared(
    _MORE.on_conflict_do_update(
        index_elements=["federation", "named_window", "outcome", "reason", "version"],
        set_={"count": PAST_UPDATES.c["count"] + _MORE.excluded["count"]},
    )
)
_FIRST: Final = insert(PAST_DEVICES).values(
    **{name: bindparam(name) for name in ("federation", "device", "named_window", "mark", "ended", "settled")}
)
_MARK: Final = Prepared(
    _FIRST.on_conflict_do_update(
        index_elements=["federation", "device"],
        set_={
            **{name: _FIRST.excluded[name] for name in ("named_window", "mark", "ended")},
            "settled": PAST_DEVICES.c.settled + _FIRST.excluded.settled,
        },
    )
)


def find(tx: Connection, federation: str, device: str) -> Past | None:
    """The marks of this device; None while no row of it has gone."""
    row = _FIND.first(tx, {"of": federation, "whose": device})
    return Past(row[0], Marks.read(row[1], row[2])) if row else None


def tidy(tx: Connection, federation: str, before: int, most: int = AT_ONCE) -> int:
    """Clean up the rows of updates that ended before `before`, the oldest and at most `most`; how many went.

    A refused content that is still told to the aggregator, as the zero update of a window that is open, stays.
    """
    due = {"of": federation, "before": before}
    if _IS_ONE_DUE.first(tx, due) is None:
        return 0
    last = windows.last(tx, federation)
    collecting = last.window.number if last and last.is_open else -1
    rows = [_Gone(*row) for row in tx.execute(_OLDEST, {**due, "collecting": collecting, "most": most})]
    _count(tx, federation, rows)
    for device, its in groupby(sorted(rows, key=lambda row: row.device), key=lambda row: row.device):
        _mark(tx, federation, device, list(its))
    ids = [row.id for row in rows]
    tx.execute(delete(CHARGES).where(CHARGES.c.update.in_(ids), CHARGES.c.state != "reserved"))
    tx.execute(delete(UPDATES).where(UPDATES.c.id.in_(ids)))
    return len(ids)


def counts(tx: Connection, federation: str) -> list[Count]:
    """How many updates went, by the window that they name, their outcome, its reason and the release they count in."""
    wanted = select(*(PAST_UPDATES.c[field.name] for field in fields(Count)))
    return [Count(*row) for row in tx.execute(wanted.where(PAST_UPDATES.c.federation == federation))]


def settled(tx: Connection) -> Counter[str]:
    """What charges that went had settled, by device, over all its federations."""
    rows = tx.execute(select(PAST_DEVICES.c.device, func.sum(PAST_DEVICES.c.settled)).group_by(PAST_DEVICES.c.device))
    return Counter({device: int(loss) for device, loss in rows})


@dataclass(frozen=True)
class _Gone:
    """A row that goes, with what its charge has settled."""

    id: bytes
    device: str
    named_window: int
    outcome: str
    reason: str | None
    version: int | None
    sealed: bytes
    loss: int | None


def _count(tx: Connection, federation: str, rows: Sequence[_Gone]) -> None:
    sorts = Counter((row.named_window, row.outcome, row.reason or "", row.version or 0) for row in rows)
    for (window, outcome, reason, version), count in sorts.items():
        key = {"federation": federation, "named_window": window, "outcome": outcome}
        _COUNT.changed(tx, {**key, "reason": reason, "version": version, "count": count})


def _mark(tx: Connection, federation: str, device: str, rows: Sequence[_Gone]) -> None:
    known = find(tx, federation, device)
    window, marks = (known.window, known.marks) if known else (0, NOTHING)
    for row in rows:
        marks = marks.ending(unseal(row.sealed).counter)
    window = max(window, *(row.named_window for row in rows))
    loss = sum(row.loss or 0 for row in rows)
    sums = {"federation": federation, "device": device, "named_window": window, "settled": loss}
    _MARK.changed(tx, {**sums, "mark": marks.mark, "ended": marks.body})
