"""An earlier copy that is no forerunner: a newer ledger that was lost, and this one was restored from before it.

What it had after they parted is lost, as far as the restoration says so; what went out of it stays true (ADR 18).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest

from .excused import was_given_up
from .finding import Finding, release_named, update_named, window_named
from .ledger import Ledger
from .restored import gaps, is_skipped, loses_version, loses_window


def parted(old: Ledger, new: Ledger) -> int | None:
    """The first row of the log in which the two differ, if this ledger was restored there or later."""
    for before, now in zip_longest(old.audit, new.audit):
        if before is None:
            return None
        if before != now:
            restored = (act.seq for act in new.audit if act.action == "ledger.restored" and act.seq >= before.seq)
            return before.seq if any(restored) else None
    return None


def lost(old: Ledger, new: Ledger) -> Iterator[Finding]:
    """What the lost ledger had given out that this one contradicts."""
    yield from _releases(old, new)
    yield from _windows(old, new)
    yield from _updates(old, new)
    yield from _budgets(old, new)


def _releases(old: Ledger, new: Ledger) -> Iterator[Finding]:
    for one in old.releases:
        named, now = release_named(one.federation, one.version), new.release_of.get((one.federation, one.version))
        if now is None and not loses_version(new, one.federation, one.version):
            yield Finding("release-gone", named, "The ledger that was lost has it, and no restoration says so.")
        if now is not None and now.manifest != one.manifest:
            yield Finding("version-reused", named, "The ledger that was lost has it in other bytes.")


def _windows(old: Ledger, new: Ledger) -> Iterator[Finding]:
    """A window that was open in both is one; else devices were invited twice under one number."""
    for one in old.windows:
        named, now = window_named(one.federation, one.number), new.window_of.get((one.federation, one.number))
        if now is None and not loses_window(new, one.federation, one.number):
            said = f"The ledger that was lost has it, {one.state}, and no restoration says so."
            yield Finding("window-gone", named, said)
        if now is not None and now.body != one.body and not is_skipped(new, one.federation, one.number):
            yield Finding("window-reused", named, "The ledger that was lost had opened another one under its number.")


def _updates(old: Ledger, new: Ledger) -> Iterator[Finding]:
    """Counted in a release that stands, an update stands; else this ledger has given it up, or never had it."""
    for row in old.updates:
        now = new.update_of.get(row.id)
        is_kept = row.version is not None and not loses_version(new, row.federation, row.version)
        is_same = now is not None and (now.outcome, now.version, now.receipt) == (row.outcome, row.version, row.receipt)
        if is_kept and not is_same and (row.federation, row.device) not in _cleaned(new):
            said = f"The ledger that was lost has it counted in release {row.version}, which is not lost."
            yield Finding("outcome-changed", update_named(row.id), said)
        elif now is not None and row.outcome != "open" and not is_same and not was_given_up(new, now):
            said = f"The ledger that was lost has it {row.outcome}, and this one {now.outcome}."
            yield Finding("outcome-changed", update_named(row.id), said)


def _cleaned(new: Ledger) -> frozenset[tuple[str, str]]:
    return frozenset((one.federation, one.device) for one in new.memories)


def _budgets(old: Ledger, new: Ledger) -> Iterator[Finding]:
    """Once it goes on, each device has paid at least for every release that left the ledger that was lost."""
    waits = any(gap.row.resumed_at is None for one in new.federations for gap in gaps(new, one.federation))
    unreleased = Counter[str]()
    for charge in old.charges:
        unreleased[charge.device] += charge.loss if charge.state == "settled" and charge.version is None else 0
    now = {one.device: one.settled for one in new.budgets}
    known = {one.device for one in new.devices}
    for one in old.budgets:
        paid = one.settled - unreleased[one.device]
        if not waits and one.device in known and now.get(one.device, 0) < paid:
            said = (
                f"It had lost {paid} in releases of the ledger that was lost, and is charged {now.get(one.device, 0)}."
            )
            yield Finding("budget-lowered", one.device, said)
