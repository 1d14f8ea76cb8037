"""Whether the tables say of each restoration what the audit chain says: when, why, what was seen, and who paid what.

The chain has a row each time that a ledger was found to be older than the world, and one each time that a person let it
go on. While it waits it may be found older again: all that the chain has until it goes on is one row of the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from services.ledger import audit
from services.ledger.restorations import RESTORED, RESUMED, how_far
from services.ledger.tables import AUDIT, RESTORATIONS, SURCHARGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Row

_SAID = ("version", "window", "because", "base_version")


@dataclass(frozen=True)
class _Act:
    """A row of the audit chain, with what its body says."""

    seq: int
    at: int
    action: str
    says: dict[str, Any]


def faults(tx: Connection, federation: str) -> Iterator[str]:
    """What the tables say of this federation's restorations and the audit chain does not, in words."""
    ours = select(RESTORATIONS).where(RESTORATIONS.c.federation == federation)
    rows = tx.execute(ours.order_by(RESTORATIONS.c.number)).all()
    times = _times(tx, federation)
    if [row.number for row in rows] != list(range(1, len(times) + 1)):
        yield f"the table has restorations {[row.number for row in rows]}, the audit chain has {len(times)}"
    for row, acts in zip(rows, times, strict=False):
        yield from _beginning(row, acts[0])
        yield from _ending(row, acts[-1]) if acts[-1].action == RESUMED else _waiting(tx, row, acts[-1])
    yield from _surcharges(tx, federation, times)


def _times(tx: Connection, federation: str) -> list[list[_Act]]:
    """What the chain has of each restoration; who went on comes last."""
    wanted = select(AUDIT.c.seq, AUDIT.c.at, AUDIT.c.action, AUDIT.c.body).where(AUDIT.c.federation == federation)
    acts = tx.execute(wanted.where(AUDIT.c.action.in_((RESTORED, RESUMED))).order_by(AUDIT.c.seq))
    found: list[list[_Act]] = []
    for seq, at, action, body in acts:
        if not found or found[-1][-1].action == RESUMED:
            found.append([])
        found[-1].append(_Act(seq, at, action, audit.said(body)))
    return found


def _beginning(row: Row[tuple[object, ...]], act: _Act) -> Iterator[str]:
    if act.action != RESTORED or (row.at, row.why) != (act.at, act.says.get("why")):
        yield f"restoration {row.number} was at {row.at} because {row.why!r}, row {act.seq} of the audit chain differs"


def _ending(row: Row[tuple[object, ...]], act: _Act) -> Iterator[str]:
    stands = (row.resumed_at, *(getattr(row, name) for name in _SAID))
    said = (act.at, *(act.says.get(name) for name in _SAID))
    if stands != said:
        yield f"restoration {row.number} went on with {stands}, row {act.seq} of the audit chain says {said}"


def _waiting(tx: Connection, row: Row[tuple[object, ...]], act: _Act) -> Iterator[str]:
    """The newest mark says how far the world had come, if not of an older program; it is never less than our own."""
    ours = how_far(tx, row.federation)
    said = (act.says.get("version", row.version), act.says.get("window", row.window))
    is_less = row.version < ours.version or row.window < ours.window
    if (row.resumed_at, row.because, row.base_version) != (None, None, None):
        yield f"restoration {row.number} went on, which the audit chain does not have"
    elif is_less or said != (row.version, row.window):
        seen = f"release {row.version} and window {row.window}"
        known = f"the ledger has {ours.version} and {ours.window}, row {act.seq} of the audit chain says {said}"
        yield f"restoration {row.number} has seen {seen}, {known}"


def _surcharges(tx: Connection, federation: str, times: Sequence[Sequence[_Act]]) -> Iterator[str]:
    """Whoever had enrolled when the ledger went on paid what the audit chain says, and nobody else did."""
    enrolled = select(AUDIT.c.seq, AUDIT.c.subject).where(AUDIT.c.federation == federation)
    came = tx.execute(enrolled.where(AUDIT.c.action == "device.enrolled")).all()
    due = {
        (number, device): int(acts[-1].says["charged"])
        for number, acts in enumerate(times, start=1)
        for seq, device in came
        if acts[-1].says.get("charged") and seq < acts[-1].seq
    }
    columns = (SURCHARGES.c.restoration, SURCHARGES.c.device, SURCHARGES.c.loss)
    rows = tx.execute(select(*columns).where(SURCHARGES.c.federation == federation))
    paid = {(row.restoration, row.device): row.loss for row in rows}
    for number, device in sorted(due.keys() | paid.keys()):
        owes, has = due.get((number, device), 0), paid.get((number, device), 0)
        if owes != has:
            yield f"{device} paid {has} for what was lost before restoration {number}, the audit chain says {owes}"
