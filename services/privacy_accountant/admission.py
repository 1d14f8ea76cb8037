"""Admit every update once: bound to a window and charged, waiting for one, or refused with its receipt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mizzle.envelope import unseal
from mizzle.failpoints import failpoint
from mizzle.messages import Charge
from services.ledger import budgets, updates
from services.ledger.budgets import Hold
from services.ledger.updates import Row
from services.privacy_accountant.charge import Bind, Refuse, Sender, lost, misdated, place

if TYPE_CHECKING:
    from mizzle.messages import Message, Refusal, Verdict, Window
    from services.ledger.deliveries import Kind
    from services.privacy_accountant.charge import Wait
    from services.privacy_accountant.page import Page

UNAFFORDABLE = Refuse("budget", "the device's privacy budget does not allow another update of this weight")


def judged(page: Page, verdict: Verdict) -> tuple[Kind, list[Message]]:
    """What becomes of an update that was judged."""
    row = updates.find(page.tx, verdict.id)
    if row is not None:
        return "duplicate", _said_again(page, row)
    if (answer := page.said_to_have_ended(verdict.id, verdict.update, verdict.sealed)) is not None:
        return "duplicate", [answer]
    update, found = verdict.update, page.window(verdict.update.window)
    named = found.window if found else None
    sender = Sender(
        is_invited=page.invites(update.window, update.device),
        has_sent=updates.has_sent(page.tx, page.federation, update.device, update.window),
    )
    decided = place(page.terms, verdict, named, page.standing(update.window), sender)
    decided = _of_an_unknown_time(page, update.window) or decided
    return "first", _admitted(page, verdict, named, misdated(page.terms, unseal(verdict.sealed).epoch) or decided)


def refused(page: Page, refusal: Refusal) -> tuple[Kind, list[Message]]:
    """What becomes of an update that another service refused; one that is admitted goes its way, as if it came again.

    It was taken once, and ends with its window; whoever could not read it this time ends nothing.
    """
    row = updates.find(page.tx, refusal.id)
    if row is not None:
        return "duplicate", _said_again(page, row)
    if (answer := page.said_to_have_ended(refusal.id, refusal.update, refusal.sealed)) is not None:
        return "duplicate", [answer]
    row = _insert(page, refusal, refusal.reason, _waiting(refusal))
    return "first", [page.refuse(row, refusal.reason, refusal.why).answer]


def reserve(page: Page, row: Row, bind: Bind, instead_of: int = 0) -> int | None:
    """Reserve what an update costs its device in this window; all that is spent by then, or None if it may not be."""
    before = updates.weight_in(page.tx, page.federation, row.device, bind.window)
    hold = Hold(row.id, page.federation, row.device, bind.window, page.terms.loss(before, bind.weight))
    with failpoint("charge-reserve"):
        return budgets.reserve(page.tx, hold, page.terms.limit, instead_of)


def _of_an_unknown_time(page: Page, window: int) -> Refuse | None:
    restored = page.restoration()
    return lost(window) if restored and restored.precedes(window) else None


def _admitted(page: Page, verdict: Verdict, named: Window | None, decided: Bind | Wait | Refuse) -> list[Message]:
    row = _waiting(verdict)
    match decided:
        case Bind():
            spent = reserve(page, row, decided)
            if spent is None or named is None:
                return _admitted(page, verdict, named, UNAFFORDABLE)
            row = replace(row, window=decided.window, weight=decided.weight, staleness=decided.staleness)
            _insert(page, verdict, verdict.decided_by, row)
            return [_charge(row, decided, named.seed, spent)]
        case Refuse(zero_in=zero_in):
            _insert(page, verdict, verdict.decided_by, replace(row, window=zero_in))
            page.refuse(row, decided.reason, decided.why)
            ended = updates.find(page.tx, row.id)
            return _said_again(page, ended) if ended else []
        case _:
            _insert(page, verdict, verdict.decided_by, row)
            return []


def _charge(row: Row, bind: Bind, seed: bytes, spent: int) -> Charge:
    return Charge(
        id=row.id,
        device=row.device,
        window=bind.window,
        weight=bind.weight,
        staleness=bind.staleness,
        seed=seed,
        spent=spent,
    )


def _waiting(heard: Verdict | Refusal) -> Row:
    return Row(
        id=heard.id,
        device=heard.update.device,
        named_window=heard.update.window,
        window=None,
        staleness=0,
        weight=0,
        outcome="open",
        receipt=None,
    )


def _insert(page: Page, heard: Verdict | Refusal, decided_by: str, row: Row) -> Row:
    updates.admit(page.tx, page.federation, row, updates.Admission(heard.sealed, decided_by, page.now))
    return row


def _said_again(page: Page, row: Row) -> list[Message]:
    """What is said of an update that is known: its receipt if it has ended, its charge while its window is open."""
    said: list[Message] = [page.answer(row)] if row.outcome != "open" else []
    found = page.window(row.window) if row.window is not None else None
    if found is not None and found.is_open:
        said += updates.charges_in(page.tx, page.federation, found.window.number, only=row.id)
    return said
