"""How a window ended, as it is said to others: with the release made of it, and with who is still at work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mizzle.messages import Closed
from services.ledger import updates, windows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mizzle.plan import Plan
    from services.ledger.windows import Found


def closed(tx: Connection, plan: Plan, found: Found) -> Closed:
    """The end of a window; its `awaited` are as the ledger has it now, so they may be fewer when it is said again."""
    number = found.window.number
    awaited = at_work(tx, plan, number) if plan.window.is_buffered else set()
    return Closed(window=number, version=found.version, awaited=tuple(sorted(awaited)))


def at_work(tx: Connection, plan: Plan, last: int) -> set[str]:
    """The devices whose newest invitation, to window `last` or before, has brought no update yet and still may.

    Window n + 1 may take updates of `max_staleness` windows before it. Where some of these were abandoned, it would
    take older ones still; their devices are waited for no longer all the same, else a fleet that has fallen silent is
    waited for until the end of days. What they send counts if it comes.
    """
    newer: set[str] = set()
    found: set[str] = set()
    for number in range(last, max(0, last - plan.window.max_staleness), -1):
        window = windows.find(tx, plan.federation, number)
        invited = set(window.window.cohort) - newer if window else set()
        newer |= invited
        found |= invited - updates.senders(tx, plan.federation, number)
    return found
