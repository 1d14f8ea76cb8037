"""Each time that an older ledger took the place of a newer one: marked, until a person says how things stand.

What an older ledger does not know has happened all the same: releases went out, devices were charged, windows opened.
So from the mark on nothing is released and no window opens; what was open in it is ended as if its noise had been drawn
(I18); and an update of a time that it does not know is refused, because it may be in a release that it does not know.
`resume` lifts the mark: the person says how far the world has come, and what devices may have lost in between is
charged to all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, func, insert, select, update

from mizzle.errors import Misconfigured
from mizzle.messages import ModelRef, Window
from mizzle.plan import from_canonical
from mizzle.terms import bound_of, mechanism_of
from mizzle.vocabulary import FULL_WEIGHT
from services.ledger import audit, budgets, enrolments, federations, leases, windows
from services.ledger.prepared import Prepared
from services.ledger.tables import RELEASES, RESTORATIONS, SURCHARGES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from mizzle.plan import Plan

RESTORED: Final = "ledger.restored"
RESUMED: Final = "ledger.resumed"


@dataclass(frozen=True)
class Restoration:
    """A ledger that was older than the world, which is known to have seen this release and this window at least.

    `closed_at` is when all that was open in it had been ended, `resumed_at` when a person let it go on; its newest
    model goes on as version `base_version`.
    """

    number: int
    at: int
    why: str
    version: int
    window: int
    closed_at: int | None
    resumed_at: int | None
    base_version: int | None

    @property
    def holds(self) -> bool:
        """Whether nothing is released and no window opens."""
        return self.resumed_at is None

    @property
    def is_ahead(self) -> bool:
        """Whether a window was skipped while what was open before it has not been ended: no service has run since."""
        return self.closed_at is None and self.resumed_at is not None

    def precedes(self, window: int) -> bool:
        """Whether the window is of a time that this ledger may not know."""
        return self.holds or window <= self.window


@dataclass(frozen=True)
class Seen:
    """How far the world has come: its newest release and its newest window."""

    version: int = 0
    window: int = 0


NOTHING_SEEN: Final = Seen()
"""Nobody has said anything of the world."""


_NEWEST: Final = Prepared(
    select(*(RESTORATIONS.c[field.name] for field in fields(Restoration)))
    .where(RESTORATIONS.c.federation == bindparam("of"))
    .order_by(RESTORATIONS.c.number.desc())
    .limit(1)
)


def newest(tx: Connection, federation: str) -> Restoration | None:
    """The last time this happened; None if it never did."""
    row = _NEWEST.first(tx, {"of": federation})
    return Restoration(*row) if row else None


def every(tx: Connection, federation: str) -> list[Restoration]:
    """Each time that this happened, in order."""
    wanted = select(*(RESTORATIONS.c[field.name] for field in fields(Restoration)))
    rows = tx.execute(wanted.where(RESTORATIONS.c.federation == federation).order_by(RESTORATIONS.c.number))
    return [Restoration(*row) for row in rows]


def mark(tx: Connection, federation: str, act: audit.Act, seen: Seen = NOTHING_SEEN) -> None:
    """From now on this ledger is known to be older than the world; if it was already, what was `seen` is added.

    `act` says who found it, and its body why; the audit chain gets it with what is known of the world by now. No epoch
    is issued any more that a newer ledger may have issued, and the ledger has a new name, so that nothing in Redis is
    taken for its own: it may be of the newer one.
    """
    known, ours = newest(tx, federation), _gone_on(tx, federation)
    version, window = max(ours.version, seen.version), max(ours.window, seen.window)
    if known is not None and known.holds:
        version, window = max(known.version, version), max(known.window, window)
        _change(tx, federation, known.number, {"version": version, "window": window})
    else:
        row = {"number": known.number + 1 if known else 1, "at": act.at, "why": str(act.body["why"])}
        tx.execute(insert(RESTORATIONS).values(federation=federation, **row, version=version, window=window))
    leases.leap(tx, federation)
    federations.rename(tx, federation)
    seen_by_now = {"version": version, "window": window}
    audit.append(tx, replace(act, body={**act.body, **seen_by_now}))


def how_far(tx: Connection, federation: str) -> Seen:
    """How far this ledger has come by itself."""
    last = windows.last(tx, federation)
    wanted = select(func.max(RELEASES.c.version)).where(RELEASES.c.federation == federation)
    return Seen(int(tx.execute(wanted).scalar() or 0), last.window.number if last else 0)


def _gone_on(tx: Connection, federation: str) -> Seen:
    """The same, with the version as which its newest model went on after an earlier restoration: it was paid for."""
    ours = how_far(tx, federation)
    wanted = select(func.max(RESTORATIONS.c.base_version)).where(RESTORATIONS.c.federation == federation)
    return Seen(max(ours.version, int(tx.execute(wanted).scalar() or 0)), ours.window)


def close(tx: Connection, federation: str, number: int, at: int) -> None:
    """All that was open in the ledger has been ended."""
    _change(tx, federation, number, {"closed_at": at})


def resume(tx: Connection, federation: str, seen: Seen, because: str, at: int) -> int:
    """Let the federation go on after all that was `seen` of it; what every device is charged is given, as μ² in 2^-32.

    The next window's number and the next release's version are new to everybody. Each release that the ledger does not
    know may have any device in it with all the weight that one device can have, so that is what each is charged.

    Raises:
        Misconfigured: it was not restored, or less was seen than the ledger knows, or what cannot be.
    """
    known, ours = newest(tx, federation), _gone_on(tx, federation)
    if known is None or not known.holds:
        raise Misconfigured(f"{federation} goes on: nothing is to be resumed")
    if seen.version < known.version or seen.window < known.window:
        text = f"release {known.version} and window {known.window} have been seen"
        raise Misconfigured(f"{text}: --newest-release and --newest-window are these at least")
    lost = seen.version - ours.version
    if lost > seen.window - ours.window + 1:
        text = f"{lost} releases cannot come of the windows {ours.window} to {seen.window}"
        raise Misconfigured(f"{text}: each window is released once at most; correct --newest-window")
    plan = from_canonical(federations.find(tx, federation).plan)
    loss = _most_lost(plan, lost, seen.window - ours.window + _given_up(tx, plan, ours) - lost)
    _surcharge(tx, federation, known.number, loss)
    base = seen.version + 1 if lost else ours.version
    if seen.window > ours.window:
        _skip(tx, federation, seen.window, _model(tx, federation, plan, base), at)
    end = plan.window.windows
    if end is not None and seen.window >= end and federations.halted(tx, federation, end) is None:
        federations.halt(tx, federation, "complete", f"all {end} windows of the plan have ended", at)
    said = {"version": seen.version, "window": seen.window, "base_version": base}
    _change(tx, federation, known.number, {**said, "resumed_at": at, "because": because})
    body = {**said, "because": because, "lost_releases": lost, "charged": loss}
    audit.append(tx, audit.Act(federation, at, "operator", RESUMED, federation, body))
    return loss


def most_loss(plan: Plan) -> int:
    """The most that one device can lose in one release: an update of each window that may be in it, at its weight.

    Buffered, where the windows before it were all released: one that was given up makes nothing staler.
    """
    return _price(plan, _most_weight(plan))


def _most_weight(plan: Plan) -> int:
    stale = range(1, plan.window.max_staleness + 1) if plan.window.late == "fold" else ()
    return FULL_WEIGHT + sum(math.isqrt(FULL_WEIGHT * FULL_WEIGHT // (1 + age)) for age in stale)


def _price(plan: Plan, weight: int) -> int:
    return mechanism_of(plan).price(weight, FULL_WEIGHT, bound_of(plan))


def _most_lost(plan: Plan, lost: int, given_up: int) -> int:
    """The most that one device can lose in so many releases, where so many windows were given up before or among them.

    Buffered, an update of a window that was given up is as fresh as one of the window after it, and both may be in one
    release. All in one cost most, since weights in one release are squared together; and no release holds more than its
    goal.
    """
    if not (lost and given_up > 0 and plan.window.is_buffered):
        return lost * most_loss(plan)
    usual = _most_weight(plan)
    heaviest = usual + given_up * FULL_WEIGHT
    fullest = max(usual, min(heaviest, plan.window.most * FULL_WEIGHT))
    return min((lost - 1) * _price(plan, usual) + _price(plan, heaviest), lost * _price(plan, fullest))


def _given_up(tx: Connection, plan: Plan, ours: Seen) -> int:
    """How many windows that the ledger knows made no release here, and are not too stale for the next one."""
    return windows.unreleased(tx, plan.federation, ours.version - plan.window.max_staleness)


def _surcharge(tx: Connection, federation: str, number: int, loss: int) -> None:
    if not loss:
        return
    for device in enrolments.everybody(tx, federation):
        row = {"federation": federation, "device": device, "restoration": number, "loss": loss}
        tx.execute(insert(SURCHARGES).values(row))
        budgets.surcharge(tx, device, loss)


def _model(tx: Connection, federation: str, plan: Plan, version: int) -> ModelRef:
    """The newest model that this ledger knows, under the version that it goes on as."""
    wanted = select(RELEASES.c.model_digest, RELEASES.c.model_size).where(RELEASES.c.federation == federation)
    row = tx.execute(wanted.order_by(RELEASES.c.version.desc()).limit(1)).first()
    digest, size = row or (plan.model.digest, plan.model.size)
    return ModelRef(version=version, digest=digest, size=size)


def _skip(tx: Connection, federation: str, number: int, base: ModelRef, at: int) -> None:
    """Write a window of that number that nobody was in, so that none of the numbers up to it is issued again."""
    empty = Window(
        number=number,
        base=base,
        cohort=(),
        goal=1,
        quorum=1,
        most=1,
        deadline=at,
        seed=bytes(32),
        bound=1,
        weight_cap=FULL_WEIGHT,
    )
    windows.open_new(tx, federation, empty, at)
    windows.end(tx, federation, number, None, at)


def _change(tx: Connection, federation: str, number: int, values: Mapping[str, object]) -> None:
    this = (RESTORATIONS.c.federation == federation, RESTORATIONS.c.number == number)
    tx.execute(update(RESTORATIONS).where(*this).values(values))
