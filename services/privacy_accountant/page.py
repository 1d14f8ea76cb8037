"""What each booking of a batch is written with: the open transaction, the plan's terms, one reading of the clock."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from mizzle.envelope import Purpose, seal, unseal
from mizzle.messages import Abandoned, Answer, Receipt, Refused
from mizzle.reasons import countable
from services.ledger import audit, endings, federations, past, restorations, updates, windows
from services.privacy_accountant.charge import Standing
from services.runtime.about import short

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mizzle.messages import Closed, Outcome, Update, Window
    from mizzle.moves import Ground
    from mizzle.plan import Plan
    from services.ledger.restorations import Restoration
    from services.ledger.updates import Row
    from services.ledger.windows import Found
    from services.privacy_accountant.charge import Terms


MOST_STRANGE_AN_HOUR: Final = 100
HOUR_MS: Final = 3_600_000
ALREADY_ENDED: Final = "it ended long ago, and how is not kept any longer; it is not counted again"

_NEWEST: Final = -1

_log = structlog.get_logger()


@dataclass(frozen=True)
class Page:
    """A page of the ledger, open for writing; `now` is in milliseconds."""

    tx: Connection
    ground: Ground
    terms: Terms
    now: int
    _windows: dict[int, Found | None] = field(default_factory=dict, repr=False)
    _cohorts: dict[int, frozenset[str]] = field(default_factory=dict, repr=False)
    _restorations: list[Restoration | None] = field(default_factory=list, repr=False)
    _strangers: Counter[str] = field(default_factory=Counter, repr=False)

    @property
    def plan(self) -> Plan:
        """The federation's plan."""
        return self.terms.plan

    @property
    def federation(self) -> str:
        """The federation's name."""
        return self.plan.federation

    def window(self, number: int) -> Found | None:
        """The window with this number; looked up once, until `forget_windows`."""
        if number not in self._windows:
            self._windows[number] = windows.find(self.tx, self.federation, number)
        return self._windows[number]

    def invites(self, number: int, device: str) -> bool:
        """Whether the device is in the cohort of the window with this number: thousands may be, and each is asked."""
        if number not in self._cohorts:
            found = self.window(number)
            self._cohorts[number] = frozenset(found.window.cohort) if found else frozenset()
        return device in self._cohorts[number]

    def newest(self) -> Found | None:
        """The newest window; looked up once, until `forget_windows`."""
        if _NEWEST not in self._windows:
            self._windows[_NEWEST] = windows.last(self.tx, self.federation)
        return self._windows[_NEWEST]

    def forget_windows(self) -> None:
        """One was opened or has ended, or the ledger was found to be old: look again."""
        self._windows.clear()
        self._cohorts.clear()
        self._restorations.clear()

    def restoration(self) -> Restoration | None:
        """When the ledger was last found to be older than the world; looked up once, until `forget_windows`."""
        if not self._restorations:
            self._restorations.append(restorations.newest(self.tx, self.federation))
        return self._restorations[0]

    def standing(self, named: int) -> Standing:
        """Where the federation stands for an update that names this window; late ones are counted for a late one."""
        found = self.newest()
        last = found.window.number if found else 0
        target = found.window if found and found.is_open else None
        halted = target is None and federations.halted(self.tx, self.federation, last) is not None
        return Standing(last, target, self._late(target, named), halted, found.next_version if found else 0)

    def closed(self, found: Found) -> Closed:
        """How a window ended, and who is still at work."""
        return endings.closed(self.tx, self.plan, found)

    def _late(self, target: Window | None, named: int) -> int:
        """How many updates take a place in the open window from one that names the window `named`."""
        if target is None:
            return 0
        if self.plan.window.is_buffered:
            return updates.held_in(self.tx, self.federation, target.number)
        return updates.late_in(self.tx, self.federation, target.number) if named != target.number else 0

    def receipt(self, row: Row, outcome: Outcome) -> bytes:
        """The sealed receipt that says how the update ended; it is stored, and never made twice."""
        receipt = Receipt(
            federation=self.federation,
            device=row.device,
            update=row.id,
            window=row.named_window,
            outcome=outcome,
            at=self.now,
        )
        return seal(receipt, Purpose.RECEIPT, self.ground.signer, self.ground.epoch, counter=self.now)

    def answer(self, row: Row) -> Answer:
        """The receipt of an update that has ended; its payload is kept until its window's end, too (DESIGN 4)."""
        found = self.newest()
        open_window = found.window.number if found is not None and found.is_open else None
        return row.early_answer if row.may_leave(open_window) else row.answer

    def said_to_have_ended(self, update_id: bytes, update: Update, sealed: bytes) -> Answer | None:
        """The answer to an update whose row was cleaned up, None if it is none.

        Its receipt is made of what never changes, the update itself and its window: the same bytes however often.
        """
        known = past.find(self.tx, self.federation, update.device)
        if known is None or not known.has_ended(update.window, (envelope := unseal(sealed)).counter):
            return None
        named = self.window(update.window)
        at = named.window.deadline if named else 0
        receipt = Receipt(
            federation=self.federation,
            device=update.device,
            update=update_id,
            window=update.window,
            outcome=Refused(reason="already-ended", why=ALREADY_ENDED),
            at=at,
        )
        said = seal(receipt, Purpose.RECEIPT, self.ground.signer, envelope.epoch, counter=at)
        return Answer(device=update.device, kind="receipt", sealed=said, ends=update_id)

    def refuse(self, row: Row, reason: str, why: str = "") -> Row:
        """The open update, refused."""
        receipt = self.receipt(row, Refused(reason=reason, why=why))
        updates.end(self.tx, row.id, updates.Ending("refused", receipt, self.now, reason))
        _log.info("refused", update=short(row.id), window=row.named_window, reason=countable(reason))
        return replace(row, outcome="refused", receipt=receipt)

    def abandon(self, row: Row, window: int) -> Row:
        """The open update, abandoned with its window."""
        receipt = self.receipt(row, Abandoned(window=window))
        updates.end(self.tx, row.id, updates.Ending("abandoned", receipt, self.now))
        return replace(row, outcome="abandoned", receipt=receipt)

    def audit(self, action: str, subject: str, **body: Any) -> None:  # noqa: ANN401  # JSON's types
        """Add to the audit chain what this transaction does."""
        act = audit.Act(self.federation, self.now, "privacy_accountant", action, subject, body)
        audit.append(self.tx, act)

    def audit_stranger(self, action: str, subject: str, **body: Any) -> None:  # noqa: ANN401  # as above
        """Add what somebody did who does not belong: whoever reaches the broker may not fill a log that is never cut.

        Of the newest 200 rows at most 100 say such an action of the last hour; what comes on top is in the logs alone.
        """
        if action not in self._strangers:
            since = self.now - HOUR_MS
            self._strangers[action] = audit.recent(self.tx, action, since, 2 * MOST_STRANGE_AN_HOUR)
        if self._strangers[action] < MOST_STRANGE_AN_HOUR:
            self._strangers[action] += 1
            self.audit(action, subject, **body)
