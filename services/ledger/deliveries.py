"""How many deliveries there were, each counted once: deliveries = first admissions + duplicates + unauthenticated.

A batch may be read again after a crash. So the last entry that was counted of every stream is written in the same
transaction as the counts, and an entry that is not behind it has been counted before.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.sqlite import insert

from services.ledger.prepared import Prepared
from services.ledger.tables import DELIVERIES, POSITIONS

if TYPE_CHECKING:
    from sqlalchemy import Connection

Kind = Literal["first", "duplicate", "unauthenticated"]


@dataclass
class Tally:
    """The deliveries of one batch, and how far each stream had been counted before it."""

    positions: dict[str, str]
    counts: Counter[Kind] = field(default_factory=Counter)

    def add(self, kind: Kind, stream: str, entry: str) -> bool:
        """Count one delivery, unless its entry was counted before; whether it was not.

        A first admission is always counted: its row was inserted just now, whatever a Redis that went back in time
        calls the entry.
        """
        fresh = _order(entry) > _order(self.positions.get(stream, ""))
        if fresh or kind == "first":
            self.counts[kind] += 1
        if fresh:
            self.positions[stream] = entry
        return fresh


_POSITIONS: Final = Prepared(
    select(POSITIONS.c.stream, POSITIONS.c.entry).where(POSITIONS.c.federation == bindparam("of"))
)
_FIRST_COUNT: Final = insert(DELIVERIES).values(
    **{column.name: bindparam(column.name) for column in DELIVERIES.columns}
)
_COUNT: Final = Prepared(
    _FIRST_COUNT.on_conflict_do_update(
        index_elements=["federation", "kind"], set_={"count": DELIVERIES.c["count"] + _FIRST_COUNT.excluded["count"]}
    )
)
_FIRST_POSITION: Final = insert(POSITIONS).values(
    **{column.name: bindparam(column.name) for column in POSITIONS.columns}
)
_MOVE: Final = Prepared(
    _FIRST_POSITION.on_conflict_do_update(
        index_elements=["federation", "stream"], set_={"entry": _FIRST_POSITION.excluded.entry}
    )
)


def begin(tx: Connection, federation: str) -> Tally:
    """A tally that goes on where the last transaction ended."""
    return Tally(dict(_POSITIONS.all(tx, {"of": federation})))


def write(tx: Connection, federation: str, tally: Tally) -> None:
    """Add a tally to what was counted before it."""
    for kind, count in tally.counts.items():
        _COUNT.changed(tx, {"federation": federation, "kind": kind, "count": count})
    for stream, entry in tally.positions.items():
        _MOVE.changed(tx, {"federation": federation, "stream": stream, "entry": entry})


def counted(tx: Connection, federation: str) -> dict[str, int]:
    """How many deliveries of each kind there have been."""
    rows = tx.execute(select(DELIVERIES.c.kind, DELIVERIES.c.count).where(DELIVERIES.c.federation == federation))
    return {row.kind: row[1] for row in rows}


def _order(entry: str) -> tuple[int, int]:
    """An entry's id, milliseconds-number, as it sorts in its stream."""
    instant, _, number = entry.partition("-")
    return (int(instant or 0), int(number or 0))
