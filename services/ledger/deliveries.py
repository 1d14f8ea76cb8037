"""How many deliveries there were, each counted once: deliveries = first admissions + duplicates + unauthenticated.

A batch may be read again after a crash. So the last entry that was counted of every stream is written in the same
transaction as the counts, and an entry that is not behind it has been counted before.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

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


def begin(tx: Connection, federation: str) -> Tally:
    """A tally that goes on where the last transaction ended."""
    rows = tx.execute(select(POSITIONS.c.stream, POSITIONS.c.entry).where(POSITIONS.c.federation == federation))
    return Tally({row.stream: row.entry for row in rows})


def write(tx: Connection, federation: str, tally: Tally) -> None:
    """Add a tally to what was counted before it."""
    for kind, count in tally.counts.items():
        first = insert(DELIVERIES).values(federation=federation, kind=kind, count=count)
        more = {"count": DELIVERIES.c.count + count}
        tx.execute(first.on_conflict_do_update(index_elements=["federation", "kind"], set_=more))
    for stream, entry in tally.positions.items():
        first = insert(POSITIONS).values(federation=federation, stream=stream, entry=entry)
        tx.execute(first.on_conflict_do_update(index_elements=["federation", "stream"], set_={"entry": entry}))


def counted(tx: Connection, federation: str) -> dict[str, int]:
    """How many deliveries of each kind there have been."""
    rows = tx.execute(select(DELIVERIES.c.kind, DELIVERIES.c.count).where(DELIVERIES.c.federation == federation))
    return {row.kind: row[1] for row in rows}


def _order(entry: str) -> tuple[int, int]:
    """An entry's id, milliseconds-number, as it sorts in its stream."""
    instant, _, number = entry.partition("-")
    return (int(instant or 0), int(number or 0))
