"""Budgets: the sums of the charges, and never above what the plan allows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from .evidence import Evidence
from .finding import Finding
from .ledger import Ledger
from .plan import rules
from .price import exceeds


def judge(evidence: Evidence) -> Iterator[Finding]:
    """Devices whose budget is not the sum of their charges, or is overdrawn."""
    ledger = evidence.ledger
    yield from _sums(ledger)
    yield from _stops(ledger)


def _sums(ledger: Ledger) -> Iterator[Finding]:
    kept = _kept(ledger)
    charged = Counter[tuple[str, str]]()
    for charge in ledger.charges:
        if charge.state in {"settled", "reserved"}:
            charged[charge.device, charge.state] += charge.loss
    for device, state in sorted(kept.keys() | charged.keys()):
        yield from _sum(device, state, kept.get((device, state), 0), charged[device, state])


def _sum(device: str, state: str, kept: int, charged: int) -> Iterator[Finding]:
    said = f"Its budget has {kept} {state}, its charges come to {charged}."
    if kept < charged:
        yield Finding("budget-below-charges", device, said)
    if kept > charged:
        yield Finding("budget-above-charges", device, said)
    if kept < 0:
        yield Finding("loss-negative", device, said)


def _kept(ledger: Ledger) -> Mapping[tuple[str, str], int]:
    """What the table of budgets says, by device and state."""
    settled = {(one.device, "settled"): one.settled for one in ledger.budgets}
    return settled | {(one.device, "reserved"): one.reserved for one in ledger.budgets}


def _stops(ledger: Ledger) -> Iterator[Finding]:
    """A device's budget is held against all it lost anywhere, a federation's against what was lost in it."""
    whole = _lost(ledger)
    for one in ledger.federations:
        plan = rules(one)
        if plan.mechanism == "plain" or plan.delta is None:
            continue
        for device, here in _lost(ledger, one.federation).items():
            if plan.device_budget is not None and exceeds(plan.device_budget, plan.delta, whole[device]):
                yield Finding("budget-exceeded", device, f"It has lost more than ε = {plan.device_budget}.")
            if plan.federation_budget is not None and exceeds(plan.federation_budget, plan.delta, here):
                said = f"{device} has lost more in it than ε = {plan.federation_budget}."
                yield Finding("budget-exceeded", one.federation, said)


def _lost(ledger: Ledger, federation: str | None = None) -> Mapping[str, int]:
    """What each device has lost or may lose yet: everywhere, or in one federation."""
    found: dict[str, int] = defaultdict(int)
    for charge in ledger.charges:
        if charge.state in {"settled", "reserved"} and federation in {None, charge.federation}:
            found[charge.device] += charge.loss
    return found
