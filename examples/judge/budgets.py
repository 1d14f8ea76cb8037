"""Budgets: the sums of the charges, and never above what the plan allows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from .evidence import Evidence
from .finding import Finding
from .ledger import Ledger
from .plan import Rules, rules
from .price import exceeds
from .restored import gaps


def judge(evidence: Evidence) -> Iterator[Finding]:
    """Devices whose budget is not the sum of their charges, or is overdrawn."""
    ledger = evidence.ledger
    yield from _sums(ledger)
    yield from _stops(ledger)


def _sums(ledger: Ledger) -> Iterator[Finding]:
    """What is settled goes on in what was cleaned up, and in what a restored ledger charged."""
    kept = _kept(ledger)
    charged = Counter[tuple[str, str]]()
    for charge in ledger.charges:
        if charge.state in {"settled", "reserved"}:
            charged[charge.device, charge.state] += charge.loss
    for memory in ledger.memories:
        charged[memory.device, "settled"] += memory.settled
    for one in ledger.surcharges:
        charged[one.device, "settled"] += one.loss
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
            found = tuple(_overdrawn(one.federation, plan, device, (whole[device], here)))
            if found and _is_stopped(ledger, one.federation, device):
                yield from found


def _overdrawn(federation: str, plan: Rules, device: str, lost: tuple[int, int]) -> Iterator[Finding]:
    """Which budgets what a device has lost, everywhere and in one federation, is more than."""
    whole, here = lost
    delta = plan.delta or 0.0
    if plan.device_budget is not None and exceeds(plan.device_budget, delta, whole):
        yield Finding("budget-exceeded", device, f"It has lost more than ε = {plan.device_budget}.")
    if plan.federation_budget is not None and exceeds(plan.federation_budget, delta, here):
        said = f"{device} has lost more in it than ε = {plan.federation_budget}."
        yield Finding("budget-exceeded", federation, said)


def _is_stopped(ledger: Ledger, federation: str, device: str) -> bool:
    """Whether the budget bounds it: a surcharge may exceed it, and then no window after that may charge more."""
    numbers = {one.restoration for one in ledger.surcharges if (one.federation, one.device) == (federation, device)}
    after = max((one.row.window for one in gaps(ledger, federation) if one.row.number in numbers), default=None)
    mine = (one for one in ledger.charges if (one.federation, one.device) == (federation, device))
    return after is None or any(one.window > after and one.loss > 0 and one.state != "void" for one in mine)


def _lost(ledger: Ledger, federation: str | None = None) -> Mapping[str, int]:
    """What each device has lost or may lose yet: everywhere, or in one federation."""
    found: dict[str, int] = defaultdict(int)
    for charge in ledger.charges:
        if charge.state in {"settled", "reserved"} and federation in {None, charge.federation}:
            found[charge.device] += charge.loss
    for memory in ledger.memories:
        found[memory.device] += memory.settled if federation in {None, memory.federation} else 0
    for one in ledger.surcharges:
        found[one.device] += one.loss if federation in {None, one.federation} else 0
    return found
