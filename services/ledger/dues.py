"""Whether every charge is what its update costs: priced once more, from the plan and the windows alone.

An update's staleness follows from the window that it names and the one that it is charged for, its weight from that,
and its price from the weight, by the plan's mechanism. One draw of noise covers all that a device has in one window, so
together they cost the price of their weights' sum, and each of them at least its own. More may have been charged: for
one that was in the window and went on to the next. What was cleaned up is in no sum here.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from mizzle.plan import from_canonical
from mizzle.terms import bound_of, mechanism_of
from mizzle.vocabulary import FULL_WEIGHT
from services.ledger import federations
from services.ledger.tables import CHARGES, UPDATES, WINDOWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy import Connection, Row

    from mizzle.plan import Plan

_CHARGED = (
    select(
        UPDATES.c.id,
        UPDATES.c.named_window,
        UPDATES.c.window,
        UPDATES.c.weight,
        UPDATES.c.staleness,
        UPDATES.c.version,
        UPDATES.c.outcome,
        CHARGES.c.window.label("paid_in"),
        CHARGES.c.version.label("paid_as"),
        CHARGES.c.loss,
    )
    .join(CHARGES, CHARGES.c.update == UPDATES.c.id)
    .execution_options(yield_per=500)
)


def faults(tx: Connection, federation: str) -> Iterator[str]:
    """Charges of this federation that are for another window, or less than their updates cost, in words."""
    plan = from_canonical(federations.find(tx, federation).plan)
    windows = select(WINDOWS.c.number, WINDOWS.c.base_version).where(WINDOWS.c.federation == federation)
    bases = {row.number: row.base_version for row in tx.execute(windows)}
    price = cache(lambda weight: mechanism_of(plan).price(weight, FULL_WEIGHT, bound_of(plan)))
    for row in tx.execute(_CHARGED.where(UPDATES.c.federation == federation)):
        yield from _of(plan, bases, price, row)
    yield from _together(tx, federation, price)


def misdirected(tx: Connection, federation: str) -> Iterator[str]:
    """Updates of this federation that another device was charged for, in words."""
    ours = select(UPDATES.c.id, UPDATES.c.device, CHARGES.c.device.label("payer"))
    ours = ours.join(CHARGES, CHARGES.c.update == UPDATES.c.id).where(UPDATES.c.federation == federation)
    for row in tx.execute(ours.where(CHARGES.c.device != UPDATES.c.device)):
        yield f"update {row.id.hex()} is of {row.device}, and {row.payer} was charged for it"


def _of(plan: Plan, bases: Mapping[int, int], price: Callable[[int], int], row: Row[*tuple[Any, ...]]) -> Iterator[str]:
    who = f"update {row.id.hex()}"
    if row.paid_as not in {row.version, None} or row.paid_in != (row.window or row.paid_in):
        paid = f"window {row.paid_in} and release {row.paid_as}"
        yield f"{who} is in window {row.window} and release {row.version}, it was charged for {paid}"
    staleness = _staleness(plan, bases, row.named_window, row.paid_in)
    weight = math.isqrt(FULL_WEIGHT * FULL_WEIGHT // (1 + max(staleness, 0)))
    says_its_weight = row.outcome == "counted"  # its receipt does
    if row.weight and (row.staleness != staleness or (row.weight != weight and not says_its_weight)):
        text = f"{who} is of window {row.named_window} in window {row.paid_in}: staleness {staleness}, weight {weight}"
        yield f"{text}; the ledger says {row.staleness} and {row.weight}"
    if row.loss < price(weight):
        yield f"{who} was charged {row.loss}, it costs {price(weight)} at least"


def _staleness(plan: Plan, bases: Mapping[int, int], named: int, bound: int) -> int:
    """Windows between the two; buffered, versions between the models that they started from."""
    return bases.get(bound, 0) - bases.get(named, 0) if plan.window.is_buffered else bound - named


def _together(tx: Connection, federation: str, price: Callable[[int], int]) -> Iterator[str]:
    weight, loss = func.sum(UPDATES.c.weight), func.sum(CHARGES.c.loss)
    ours = (UPDATES.c.federation == federation, UPDATES.c.weight > 0)
    wanted = select(UPDATES.c.device, UPDATES.c.window, weight.label("weight"), loss.label("loss")).where(*ours)
    together = wanted.join(CHARGES, CHARGES.c.update == UPDATES.c.id).group_by(UPDATES.c.device, UPDATES.c.window)
    for row in tx.execute(together):
        if row.loss < price(row.weight):
            text = f"{row.device} was charged {row.loss} for all that it has in window {row.window}"
            yield f"{text}, which costs {price(row.weight)} at least"
