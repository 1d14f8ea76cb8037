"""Open the next window, once, with those who belong and can pay; or say why none opens."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import structlog
from msgspec import structs

from mizzle.messages import Exhausted
from mizzle.vocabulary import FULL_WEIGHT
from services.ledger import budgets, endings, enrolments, federations, releases, updates, windows
from services.privacy_accountant.admission import UNAFFORDABLE, reserve
from services.privacy_accountant.charge import Bind, Refuse, Wait, bound, window_of, zero_in

if TYPE_CHECKING:
    from mizzle.messages import Message, Opening
    from services.ledger.updates import Row
    from services.ledger.windows import Found
    from services.privacy_accountant.charge import Standing
    from services.privacy_accountant.page import Page

_log = structlog.get_logger()


def opened(page: Page, asked: Opening) -> list[Message]:
    """The window that is open now, how the newest one ended if another was asked for, or the end of the federation."""
    last = page.newest()
    number = last.window.number if last else 0
    if last is not None and last.is_open:
        return _said(page, last)
    if said := _halted(page, number):
        return said
    if (restored := page.restoration()) is not None and restored.holds:
        _log.error("no window opens: this ledger is older than the world; see services.ledger resume", why=restored.why)
        return []
    if asked.after != number:
        return [page.closed(last)] if last else []
    return _next(page, asked, number)


def halt(page: Page, after: int, reason: Literal["budget", "complete"], why: str) -> None:
    """End the federation, and refuse the updates that waited for another window."""
    federations.halt(page.tx, page.federation, reason, why, page.now)
    page.audit("federation.halted", page.federation, after=after, reason=reason, why=why)
    waiting = updates.waiting(page.tx, page.federation)
    budgets.settle(page.tx, [row.id for row in waiting])
    for row in waiting:
        page.refuse(row, "ended", "the federation opens no window any more")


def _next(page: Page, asked: Opening, after: int) -> list[Message]:
    members = enrolments.enrolled(page.tx, page.federation, asked.cohort)
    loss, limit = page.terms.loss(0, FULL_WEIGHT), page.terms.limit
    able = budgets.with_room(page.tx, members, loss, limit)
    quorum, coming = page.plan.window.quorum, _coming(page, after)
    if len(members) + coming < quorum:
        _log.warning("no window opens", asked=len(asked.cohort), enrolled=len(members), coming=coming, quorum=quorum)
        return _at_work(page)
    standing = budgets.standing(page.tx, page.federation, loss, limit)
    if standing.able < quorum:
        why = f"devices with budget left for another window: {standing.able}, its quorum is {quorum}"
        halt(page, after, "budget", why)
        return _halted(page, after)
    spent = sorted(members - able)
    told = [Exhausted(devices=tuple(spent))] if spent else []
    if len(able) + coming < quorum:  # others can: the selector asks again, without these
        return [*told]
    cohort = [device for device in asked.cohort if device in able]
    base = releases.next_base(page.tx, page.federation, page.plan)
    latest = releases.latest(page.tx, page.federation)
    window = window_of(page.plan, after + 1, base, asked, cohort)
    window = structs.replace(window, optimizer=latest.optimizer if latest else None, spent=standing.most)
    windows.open_new(page.tx, page.federation, window, page.now)
    page.forget_windows()
    page.audit("window.opened", str(window.number), cohort=cohort, base=base.version, deadline=window.deadline)
    _bind_waiting(page, after + 1)
    found = page.newest()
    return [*(_said(page, found) if found else []), *told]


def _at_work(page: Page) -> list[Message]:
    """Who is at work, for a selector that may wait for some whose updates were refused since it was told; buffered."""
    last = page.newest()
    return [page.closed(last)] if last is not None and page.plan.window.is_buffered else []


def _coming(page: Page, after: int) -> int:
    """How many updates may come to the next window without its cohort: buffered, what waits and what is worked on."""
    if not page.plan.window.is_buffered:
        return 0
    waits = len(updates.coming_to(page.tx, page.federation, after + 1))
    return waits + len(endings.at_work(page.tx, page.plan, after))


def _bind_waiting(page: Page, number: int) -> None:
    """Bind what waited for window `number`, the longest first; who cannot be bound is refused, or waits on."""
    standing = replace(page.standing(named=0), late=0)
    for row in updates.coming_to(page.tx, page.federation, number):
        named = page.window(row.named_window)
        decided = bound(page.plan, named.window, standing) if named else Wait()
        is_bound = _zeroed(page, row, decided, standing) if row.outcome == "refused" else _taken(page, row, decided)
        standing = replace(standing, late=standing.late + is_bound)


def _zeroed(page: Page, row: Row, decided: Bind | Wait | Refuse, standing: Standing) -> bool:
    """Whether a refused content is the zero update of the window, as the update would be a member that it came in."""
    updates.put_zero(page.tx, row.id, zero_in(page.plan, decided, standing))
    return isinstance(decided, Bind)


def _taken(page: Page, row: Row, decided: Bind | Wait | Refuse) -> bool:
    """Whether an update that waited is in the window now."""
    match decided:
        case Bind() as bind if reserve(page, row, bind, budgets.held(page.tx, row.id)) is not None:
            updates.bind(page.tx, row.id, bind.window, bind.weight, bind.staleness)
            return True
        case Bind():
            _refuse_at_last(page, row, UNAFFORDABLE)
        case Refuse() as refuse:
            _refuse_at_last(page, row, refuse)
    return False


def _refuse_at_last(page: Page, row: Row, refuse: Refuse) -> None:
    """Refuse an update that waited; what it holds since a window was sealed without it is settled (I18)."""
    budgets.settle(page.tx, [row.id])
    page.refuse(row, refuse.reason, refuse.why)


def _halted(page: Page, after: int) -> list[Message]:
    """The end of the federation, and the receipts of those who waited for another window; nothing before it."""
    found = federations.halted(page.tx, page.federation, after)
    if found is None:
        return []
    return [found.halt, *(row.answer for row in updates.ended_with(page.tx, page.federation, None, found.at))]


def _said(page: Page, found: Found) -> list[Message]:
    """The window, what it holds, and the receipts of those that had waited and were refused when it opened."""
    number = found.window.number
    refused = updates.ended_with(page.tx, page.federation, number, found.opened_at)
    charges = updates.charges_in(page.tx, page.federation, number)
    resumed = releases.resumption(page.tx, page.federation, found.window)
    return [*([resumed] if resumed else []), found.window, *(row.answer for row in refused), *charges]
