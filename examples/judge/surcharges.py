"""Surcharges: every device pays for the releases that a restored ledger does not know, the most that it can have lost.

ADR 18: in one release a device can have an update of every window that the release can hold, each at its staleness
weight; one draw of noise covers them, so they cost (Σw·S/σ)², with σ = z·64·S for a noise multiplier z.
"""

from __future__ import annotations

from collections.abc import Iterator

from .evidence import Evidence
from .finding import Finding
from .ledger import Ledger
from .plan import Rules, rules_of
from .price import UNIT
from .restored import Gap, gaps
from .weights import FULL, earned

_ROUNDED = 1e-6
"""σ is a whole number: the price of one update may be this part less than that of the plan's multiplier."""


def judge(evidence: Evidence) -> Iterator[Finding]:
    """Devices that were charged too little for what was lost, and surcharges for nothing."""
    ledger = evidence.ledger
    for one in ledger.federations:
        for gap in gaps(ledger, one.federation):
            yield from _of(ledger, gap)
    yield from _unfounded(ledger)


def most(rules: Rules) -> float:
    """The most that one device can lose in one release, in 2^-32 of μ²; nought where the plan claims no privacy."""
    multiplier = rules.noise_multiplier or 0.0
    if rules.mechanism != "gaussian" or multiplier <= 0:
        return 0.0
    is_folding = rules.late == "fold" or rules.mode == "buffered"
    oldest = rules.max_staleness or 0
    weights = sum(earned(staleness) for staleness in range((oldest if is_folding else 0) + 1))
    return (weights / FULL / multiplier) ** 2 * UNIT


def _of(ledger: Ledger, gap: Gap) -> Iterator[Finding]:
    row = gap.row
    least = gap.lost_releases * most(rules_of(ledger, row.federation)) * (1 - _ROUNDED)
    ours = (one for one in ledger.surcharges if (one.federation, one.restoration) == (row.federation, row.number))
    paid = {one.device: one.loss for one in ours}
    for device in ledger.devices:
        if row.resumed_at is None or device.federation != row.federation or device.enrolled_at > row.at:
            continue
        if paid.get(device.device, 0) < least:
            said = f"It was charged {paid.get(device.device, 0)} for {gap.lost_releases} lost releases,"
            said = f"{said} in which it can have lost {least:.0f}."
            yield Finding("surcharge-too-low", device.device, said)


def _unfounded(ledger: Ledger) -> Iterator[Finding]:
    resumed = {(one.federation, one.number) for one in ledger.restorations if one.resumed_at is not None}
    for one in ledger.surcharges:
        if (one.federation, one.restoration) not in resumed or one.loss < 0:
            said = f"It was charged {one.loss} for restoration {one.restoration}, which has not gone on."
            yield Finding("surcharge-unfounded", one.device, said)
