"""What a service is told again whenever it resumes: how things stand in the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.ledger import endings, federations, releases, updates, windows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from mizzle.messages import Message
    from mizzle.plan import Plan


def facts(tx: Connection, plan: Plan) -> Iterator[Message]:
    """The newest release, the newest window or how it ended, the federation's end, and what the open window holds."""
    federation = plan.federation
    release, found = releases.latest(tx, federation), windows.last(tx, federation)
    if release is not None:
        yield release
    if found is not None:
        if found.is_open and (resumed := releases.resumption(tx, federation, found.window)) is not None:
            yield resumed
        yield found.window if found.is_open else endings.closed(tx, plan, found)
    halted = federations.halted(tx, federation, found.window.number if found else 0)
    if halted is not None:
        yield halted.halt
    if found is not None and found.is_open:
        yield from updates.charges_in(tx, federation, found.window.number)
