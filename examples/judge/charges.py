"""Charges: one to an update, reserved while it is open, settled when counted, void only where no noise was drawn."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache

from .books import Charge
from .evidence import Evidence
from .excused import given_up
from .finding import Finding, release_named, update_named
from .ledger import Ledger
from .plan import body_of, rules_of, written
from .price import UNIT, least_loss
from .rows import Update
from .weights import FULL


def judge(evidence: Evidence) -> Iterator[Finding]:
    """Charges that are not what their update's outcome asks for."""
    ledger = evidence.ledger
    for charge in ledger.charges:
        yield from _of_charge(ledger, charge)
    for row in ledger.updates:
        yield from _missing(ledger, row)
    for update, times in Counter(charge.update for charge in ledger.charges).items():
        if times > 1:
            yield Finding("charge-twice", update_named(update), f"It is charged {times} times.")
    yield from _prices(ledger)
    yield from _held(ledger)


def _of_charge(ledger: Ledger, charge: Charge) -> Iterator[Finding]:
    row = ledger.update_of.get(charge.update)
    if charge.loss < 0:
        yield Finding("loss-negative", update_named(charge.update), f"Its loss is {charge.loss}.")
    if row is None:
        said = f"{charge.device} is charged for an update that the ledger does not know."
        yield Finding("charge-without-update", update_named(charge.update), said)
        return
    yield from _whose(charge, row)
    yield from _state(ledger, charge, row)


def _whose(charge: Charge, row: Update) -> Iterator[Finding]:
    same = (charge.federation, charge.device) == (row.federation, row.device)
    if row.outcome == "counted":
        same = same and (charge.window, charge.version) == (row.window, row.version)
    if not same:
        said = f"The charge is on {charge.device}, window {charge.window}, release {charge.version}"
        said = f"{said}; the update is {row.device}'s, window {row.window}, release {row.version}."
        yield Finding("charge-of-another", update_named(row.id), said)


def _state(ledger: Ledger, charge: Charge, row: Update) -> Iterator[Finding]:
    window = ledger.window_of.get((charge.federation, charge.window))
    state = window.state if window else "unknown"
    if charge.state == "void" and row.outcome in {"refused", "abandoned"}:
        why = _why_not_void(ledger, charge, state)
        if why is not None:
            said = f"Its charge is void, and window {charge.window} was {why}."
            yield Finding("charge-void", update_named(row.id), said)
    elif charge.state not in _allowed(row.outcome, state):
        said = f"The update is {row.outcome}, window {charge.window} is {state}, and the charge is {charge.state}."
        yield Finding("charge-state", update_named(row.id), said)


def _why_not_void(ledger: Ledger, charge: Charge, state: str) -> str | None:
    """Why noise was drawn, or may have been, for the window of a charge."""
    if state == "released":
        return "released"
    if charge.window in given_up(ledger, charge.federation):
        return "given up when the ledger was restored"
    if (charge.federation, charge.window) in _noised(ledger):
        return "abandoned after its noise was drawn, by the log"
    return None


@lru_cache(maxsize=8)
def _noised(ledger: Ledger) -> frozenset[tuple[str, int | None]]:
    """The windows that were abandoned when their noise had been drawn, by what the log says in so many words."""
    ends = (act for act in ledger.audit if act.action == "window.abandoned")
    return frozenset((act.federation, act.number) for act in ends if written(act).get("noise_was_drawn") is True)


def _allowed(outcome: str, window: str) -> frozenset[str]:
    """The states, void aside, that a charge may have: a refused content takes part as the zero update."""
    match outcome:
        case "open":
            return frozenset({"reserved"})
        case "refused" if window == "open":
            return frozenset({"reserved", "settled"})
        case _:
            return frozenset({"settled"})


def _missing(ledger: Ledger, row: Update) -> Iterator[Finding]:
    """Whoever is counted, abandoned, or open or of weight in a window, is charged; no plan without a claim charges.

    A refusal at admission reserved nothing, and has no weight; one that came after the binding keeps its weight.
    """
    needs = row.outcome in {"counted", "abandoned"} or (row.outcome == "open" and row.window is not None)
    needs = needs or (row.outcome == "refused" and row.window is not None and row.weight > 0)
    if needs and rules_of(ledger, row.federation).mechanism != "plain" and row.id not in ledger.charge_of:
        yield Finding("counted-uncharged", update_named(row.id), f"It is {row.outcome}, and nothing is charged for it.")


def _prices(ledger: Ledger) -> Iterator[Finding]:
    for (federation, version, device), rows in _together(ledger).items():
        release = ledger.release_of.get((federation, version))
        bound = body_of(ledger.window_of.get((federation, release.window))).get("bound") if release else None
        if release is None or not isinstance(bound, int) or release.sigma <= 0:
            continue
        least = least_loss(sum(row.weight for row in rows), bound, release.sigma)
        paid = sum(ledger.charge_of[row.id].loss for row in rows)
        if paid < least:
            said = f"{device} is charged {paid} for {len(rows)} update(s), which cost {least}."
            yield Finding("undercharged", release_named(federation, version), said)


def _held(ledger: Ledger) -> Iterator[Finding]:
    """What is held or was settled for whoever is in no release costs as much, by the plan's σ = z·64·S.

    σ is a whole number and prices of one device are rounded together, so the least is taken a little lower.
    """
    for row in ledger.updates:
        charge, found = ledger.charge_of.get(row.id), rules_of(ledger, row.federation)
        z = found.noise_multiplier or 0.0
        if charge is None or charge.state == "void" or row.window is None or row.outcome == "counted":
            continue
        if found.mechanism != "gaussian" or z <= 0:
            continue
        least = int((row.weight / FULL / z) ** 2 * UNIT * (1 - 1e-6)) - 1
        if charge.loss < least:
            said = f"It is {row.outcome}, and its charge is {charge.loss}, where it costs {least} at least."
            yield Finding("undercharged", update_named(row.id), said)


def _together(ledger: Ledger) -> Mapping[tuple[str, int, str], list[Update]]:
    """Counted and charged updates under the Gaussian mechanism, by release and device."""
    found: dict[tuple[str, int, str], list[Update]] = defaultdict(list)
    for row in ledger.updates:
        gaussian = rules_of(ledger, row.federation).mechanism == "gaussian"
        if gaussian and row.outcome == "counted" and row.version is not None and row.id in ledger.charge_of:
            found[row.federation, row.version, row.device].append(row)
    return found
