"""End a window, once: released with its members, all or nothing, or abandoned with everything that was open in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from mizzle.failpoints import failpoint
from mizzle.messages import Counted, Rejection
from services.ledger import blobs, budgets, releases, updates, windows
from services.ledger.updates import Ending
from services.privacy_accountant.candidacy import flaw, misplaced
from services.privacy_accountant.opening import halt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mizzle.messages import Abandonment, Candidate, Message
    from services.ledger.updates import Row
    from services.privacy_accountant.page import Page

_log = structlog.get_logger()


def released(page: Page, candidate: Candidate, attached: Mapping[bytes, bytes]) -> list[Message]:
    """The release and its members' receipts; a rejection if a member is not open; else how the window ended."""
    number = candidate.aggregate.window
    found = page.window(number)
    if found is None or not found.is_open:
        return _said(page, number)
    why_not_now = misplaced(page, found.window, releases.latest(page.tx, page.federation), candidate)
    if why_not_now is not None:
        _log.error("a candidate is out of place", window=number, version=candidate.release.version, why=why_not_now)
        return []
    with page.tx.begin_nested() as attempt:
        known = updates.of_ids(page.tx, [member.id for member in candidate.aggregate.members])
        strangers = _count_members(page, candidate, known)
        why_never = flaw(page, found.window, candidate, attached, {row.device for row in known.values()})
        if strangers or why_never:
            attempt.rollback()
    if strangers:
        return [Rejection(window=number, members=strangers)]
    if why_never:
        return given_up(page, number, why_never, noise_was_drawn=True)
    return _released(page, candidate, attached)


def abandoned(page: Page, abandonment: Abandonment) -> list[Message]:
    """The end of a window that too few came to, or that no model could be made of; how it ended, if it has."""
    number = abandonment.window
    found = page.window(number)
    if found is None or not found.is_open:
        return _said(page, number)
    why = abandonment.why or f"{abandonment.arrived} arrived, the quorum is {abandonment.quorum}"
    return given_up(page, number, why, noise_was_drawn=abandonment.noise_was_drawn)


def given_up(page: Page, number: int, why: str, *, noise_was_drawn: bool) -> list[Message]:
    """Abandon the window, and every open update in it; what was reserved is void only if no noise was drawn (I18)."""
    rows = updates.open_in(page.tx, page.federation, number)
    for row in rows:
        page.abandon(row, number)
    (budgets.settle if noise_was_drawn else budgets.void)(page.tx, [row.id for row in rows])
    windows.end(page.tx, page.federation, number, None, page.now)
    page.audit("window.abandoned", str(number), why=why, noise_was_drawn=noise_was_drawn)
    _log.warning("a window is abandoned", window=number, why=why)
    return _ended(page, number)


def _count_members(page: Page, candidate: Candidate, known: Mapping[bytes, Row]) -> tuple[bytes, ...]:
    """Move every member from open to counted; those are given that are not open in this window with this weight."""
    version, aggregate = candidate.release.version, candidate.aggregate
    strangers = []
    for member in aggregate.members:
        row = known.get(member.id)
        named = replace(row, window=aggregate.window, weight=member.weight) if row else None
        if named is None or not updates.count(page.tx, named, _counted(page, named, version)):
            strangers.append(member.id)
    return tuple(strangers)


def _counted(page: Page, row: Row, version: int) -> Ending:
    outcome = Counted(release=version, window=row.window or 0, weight=row.weight)
    return Ending("counted", page.receipt(row, outcome), page.now, version=version)


def _released(page: Page, candidate: Candidate, attached: Mapping[bytes, bytes]) -> list[Message]:
    """Write what a release is, its members being counted: with them this is the one commit point of a window."""
    release, aggregate = candidate.release, candidate.aggregate
    for body in attached.values():
        blobs.put(page.tx, body)
    with failpoint("release-write"):
        releases.insert_new(page.tx, page.federation, candidate, page.now)
    with failpoint("charge-settle"):
        budgets.settle(page.tx, [member.id for member in aggregate.members], release.version)
    windows.end(page.tx, page.federation, aggregate.window, release.version, page.now)
    page.audit(
        "window.released",
        str(aggregate.window),
        version=release.version,
        manifest=release.manifest_digest.hex(),
        total=aggregate.total.digest.hex(),
        members=[member.id.hex() for member in aggregate.members],
    )
    _leave_over(page, aggregate.window)
    return _ended(page, aggregate.window)


def _leave_over(page: Page, number: int) -> None:
    """Let the open updates that are in no sum of a released window wait for the next one, or refuse them."""
    left = updates.open_in(page.tx, page.federation, number)
    if page.plan.window.late == "fold":
        updates.let_wait(page.tx, [row.id for row in left])
        return
    budgets.settle(page.tx, [row.id for row in left])
    for row in left:
        page.refuse(row, "late", f"window {number} was sealed without it")


def _ended(page: Page, number: int) -> list[Message]:
    """How the window ended; if it was the plan's last one, so has the federation."""
    page.forget_windows()
    last = page.plan.window.windows
    if last is not None and number >= last:
        halt(page, number, "complete", f"all {last} windows of the plan have ended")
    return _said(page, number)


def _said(page: Page, number: int) -> list[Message]:
    """How a window ended, and the receipts of all that ended with it; nothing while it is open.

    Also of those that had ended before it and may have been in its sum: from now on nobody needs their payloads.
    """
    found = page.window(number)
    if found is None or found.ended_at is None:
        return []
    rows = updates.ended_with(page.tx, page.federation, number, found.ended_at)
    rows += updates.ended_before(page.tx, page.federation, number, found.ended_at)
    receipts = [row.answer for row in rows]
    if found.version is None:
        return [page.closed(found), *receipts]
    return [releases.find(page.tx, page.federation, found.version), page.closed(found), *receipts]
