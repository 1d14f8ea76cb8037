"""The ledger beside an earlier copy of itself: what was decided stands, also where it was cleaned up or restored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from .books import Charge
from .branch import lost, parted
from .evidence import Evidence
from .finding import Finding, release_named, update_named, window_named
from .gone import gone, is_cleaned
from .ledger import Ledger

Row = TypeVar("Row")


def judge(evidence: Evidence) -> Iterator[Finding]:
    """What has gone or was changed since the earlier copy."""
    old, new = evidence.earlier, evidence.ledger
    if old is None:
        return
    yield from _lowered("epoch-lowered", _epochs(old), _epochs(new))
    if parted(old, new) is not None:
        yield from lost(old, new)
        return
    yield from _kept("audit", _acts(old), _acts(new))
    yield from _outcomes(old, new)
    yield from gone(old, new)
    yield from _charges(old, new)
    yield from _kept("release", _releases(old), _releases(new))
    yield from _windows(old, new)
    yield from _lowered("budget-lowered", _settled(old), _settled(new))
    yield from _lowered("charge-lowered", _surcharged(old), _surcharged(new))
    yield from _lowered("deliveries-lowered", _deliveries(old), _deliveries(new))


def _kept(what: str, old: Mapping[str, Row], new: Mapping[str, Row]) -> Iterator[Finding]:
    """Rows that are there still, as they were."""
    for named, row in old.items():
        if named not in new:
            yield Finding(f"{what}-gone", named, "The earlier copy has it.")
        elif new[named] != row:
            yield Finding(f"{what}-changed", named, "The earlier copy has it otherwise.")


def _lowered(code: str, old: Mapping[str, int], new: Mapping[str, int]) -> Iterator[Finding]:
    for named, number in old.items():
        if new.get(named, 0) < number:
            yield Finding(code, named, f"It was {number}, and is {new.get(named, 0)}.")


def _outcomes(old: Ledger, new: Ledger) -> Iterator[Finding]:
    """Rows that are there still; of those that are gone `gone` speaks."""
    for row in old.updates:
        now = new.update_of.get(row.id)
        if now is not None and row.outcome != "open" and now != row:
            said = f"It was {row.outcome}, and its row is not the same any more."
            yield Finding("outcome-changed", update_named(row.id), said)


def _charges(old: Ledger, new: Ledger) -> Iterator[Finding]:
    for charge in old.charges:
        now = new.charge_of.get(charge.update)
        row = old.update_of.get(charge.update)
        went_along = row is not None and is_cleaned(new, row)
        if now is None and not went_along:
            yield Finding("charge-gone", update_named(charge.update), f"The earlier copy has it, {charge.state}.")
        elif now is not None and charge.state == "settled" and not _still_settled(charge, now):
            said = f"It was settled at {charge.loss} in release {charge.version}"
            said = f"{said}, and is {now.state} at {now.loss} in release {now.version}."
            yield Finding("charge-lowered", update_named(charge.update), said)


def _still_settled(before: Charge, now: Charge) -> bool:
    return now.state == "settled" and now.version == before.version and now.loss >= before.loss


def _windows(old: Ledger, new: Ledger) -> Iterator[Finding]:
    """A window that was open may have ended since; that it was there stays."""
    now = {window_named(one.federation, one.number): one for one in new.windows}
    for one in old.windows:
        named = window_named(one.federation, one.number)
        if named not in now:
            yield Finding("window-gone", named, f"The earlier copy has it, {one.state}.")
        elif (one.body != now[named].body) or (one.state != "open" and one != now[named]):
            yield Finding("window-changed", named, f"The earlier copy has it otherwise, {one.state}.")


def _acts(ledger: Ledger) -> Mapping[str, object]:
    return {f"audit row {act.seq}": act for act in ledger.audit}


def _releases(ledger: Ledger) -> Mapping[str, object]:
    return {release_named(one.federation, one.version): one for one in ledger.releases}


def _settled(ledger: Ledger) -> Mapping[str, int]:
    return {one.device: one.settled for one in ledger.budgets}


def _surcharged(ledger: Ledger) -> Mapping[str, int]:
    return {f"{one.device}, restoration {one.restoration}": one.loss for one in ledger.surcharges}


def _epochs(ledger: Ledger) -> Mapping[str, int]:
    leases = {f"lease {one.name}": one.epoch for one in ledger.leases}
    return leases | {one.federation: one.epoch for one in ledger.federations}


def _deliveries(ledger: Ledger) -> Mapping[str, int]:
    return {f"{one.federation}, {one.kind}": one.count for one in ledger.deliveries}
