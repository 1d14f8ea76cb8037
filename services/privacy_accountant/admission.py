"""Admit every update once: bound to a window and charged, waiting for one, or refused with its receipt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.ledger import budgets, updates, windows
from services.ledger.updates import Row
from services.privacy_accountant.charge import Bind, Refuse, place

if TYPE_CHECKING:
    from mizzle.messages import Message, Refusal, Verdict
    from services.ledger.deliveries import Kind
    from services.privacy_accountant.page import Page


def judged(page: Page, verdict: Verdict) -> tuple[Kind, list[Message]]:
    """What becomes of an update that was judged."""
    row = updates.find(page.tx, verdict.id)
    if row is not None:
        return "duplicate", _said(page, row)
    return "first", _said(page, _admitted(page, verdict))


def refused(page: Page, refusal: Refusal) -> tuple[Kind, list[Message]]:
    """What becomes of an update that another service refused; one that is admitted goes its own way."""
    row = updates.find(page.tx, refusal.id)
    if row is not None:
        return "duplicate", [row.answer] if row.outcome != "open" else []
    row = _inserted(page, refusal, refusal.reason)
    return "first", [page.refuse(row, refusal.reason).answer]


def bind(page: Page, row: Row, bind: Bind) -> Row:
    """The open update in this window with its loss reserved, or refused if its device's budget does not allow that."""
    before = updates.weight_in(page.tx, page.federation, row.device, bind.window)
    loss, where = page.terms.loss(before, bind.weight), (page.federation, row.device, bind.window)
    if not budgets.reserve(page.tx, where, row.id, loss, page.terms.limit):
        budgets.settle(page.tx, [row.id])
        return page.refuse(row, "budget", "the device's privacy budget does not allow another update of this weight")
    updates.bind(page.tx, row.id, bind.window, bind.weight, bind.staleness)
    return replace(row, window=bind.window, weight=bind.weight, staleness=bind.staleness)


def _admitted(page: Page, verdict: Verdict) -> Row:
    update = verdict.update
    named = windows.find(page.tx, page.federation, update.window)
    has_sent = updates.has_sent(page.tx, page.federation, update.device, update.window)
    decided = place(page.plan, verdict, named.window if named else None, page.standing(), has_sent=has_sent)
    match decided:
        case Bind():
            return bind(page, _inserted(page, verdict, verdict.decided_by), decided)
        case Refuse(reason=reason, why=why, zero_in=zero_in):
            return page.refuse(_inserted(page, verdict, verdict.decided_by, window=zero_in), reason, why)
        case _:
            return _inserted(page, verdict, verdict.decided_by)


def _inserted(page: Page, heard: Verdict | Refusal, decided_by: str, window: int | None = None) -> Row:
    update = heard.update
    row = Row(
        id=heard.id,
        device=update.device,
        named_window=update.window,
        window=window,
        staleness=0,
        weight=0,
        outcome="open",
        receipt=None,
    )
    updates.admit(page.tx, page.federation, row, updates.Admission(heard.sealed, decided_by, page.now))
    return row


def _said(page: Page, row: Row) -> list[Message]:
    """What is said of an update whenever it comes: its receipt if it has ended, its charge while its window is open."""
    said: list[Message] = [row.answer] if row.outcome != "open" else []
    found = windows.find(page.tx, page.federation, row.window) if row.window is not None else None
    if found is not None and found.is_open and row.window is not None:
        said += updates.charges_in(page.tx, page.federation, row.window, only=row.id)
    return said
