"""Receipts: genuine, for the right update, of the outcome in the ledger, and one for each update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .evidence import Evidence
from .excused import excused
from .finding import Finding, update_named
from .genuine import genuine, told
from .held import Held, copies, held
from .ledger import Ledger
from .rows import Update


def judge(evidence: Evidence) -> Iterator[Finding]:
    """What is wrong with receipts, in the ledger and out of it."""
    for row in evidence.ledger.updates:
        yield from _of_row(evidence.ledger, row)
    for one in held(evidence):
        yield from _of_held(evidence, one)
    apart = {body for body, why in excused(evidence).items() if why != "cleaned"}
    for update, found in copies(evidence).items():
        yield from _different(update, {body: where for body, where in found.items() if body not in apart})


def without_row(evidence: Evidence) -> int:
    """How many receipts somebody got of which the ledger does not have these very bytes."""
    known = {row.receipt for row in evidence.ledger.updates}
    return len({one.sealed for one in held(evidence)} - known - excused(evidence).keys())


def _of_row(ledger: Ledger, row: Update) -> Iterator[Finding]:
    if row.receipt is None and row.outcome != "open":
        yield Finding("receipt-missing", update_named(row.id), f"The ledger says {row.outcome}, without a receipt.")
    if row.receipt is not None and row.outcome == "open":
        yield Finding("receipt-while-open", update_named(row.id), "The ledger says open, and has a receipt.")
    if row.receipt is not None:
        yield from _of_receipt(ledger, row, "the ledger", row.receipt)


def _of_held(evidence: Evidence, one: Held) -> Iterator[Finding]:
    ledger, is_excused = evidence.ledger, one.sealed in excused(evidence)
    row = ledger.update_of.get(one.update)
    if (row is None or row.receipt is None) and not is_excused:
        yield Finding("receipt-without-row", update_named(one.update), f"{one.where} has a receipt, the ledger none.")
    if row is None:
        yield from _unknown(ledger, one)
        return
    if one.sealed != row.receipt and not is_excused:
        yield from _of_receipt(ledger, row, one.where, one.sealed)
    if one.device != row.device or one.window not in {None, row.named_window}:
        filed = f"{one.where} files it under {one.device} and window {one.window}, but it is {row.device}'s"
        yield Finding("receipt-of-another", update_named(one.update), f"{filed} for window {row.named_window}.")


def _unknown(ledger: Ledger, one: Held) -> Iterator[Finding]:
    """A receipt for an update that the ledger does not know may be genuine all the same, and then is the worse."""
    known = told(ledger, one.sealed)
    if known is None:
        yield Finding("receipt-forged", update_named(one.update), f"{one.where} has one that no federation sealed.")
    elif (known.device, known.update) != (one.device, one.update) or one.window not in {None, known.window}:
        filed = f"{one.where} files it under {one.device} and window {one.window}, but it says"
        yield Finding("receipt-of-another", update_named(one.update), f"{filed} {known.device} and {known.window}.")


def _of_receipt(ledger: Ledger, row: Update, where: str, body: bytes) -> Iterator[Finding]:
    sealed = genuine(ledger, row.federation, body)
    if sealed is None:
        yield Finding("receipt-forged", update_named(row.id), f"The receipt in {where} is not the federation's.")
        return
    yield from _names(row, where, sealed.message)
    if row.outcome != "open":
        yield from _says(row, where, sealed.message.get("outcome"))


def _names(row: Update, where: str, message: Mapping[str, Any]) -> Iterator[Finding]:
    wanted = {"federation": row.federation, "device": row.device, "update": row.id, "window": row.named_window}
    wrong = [name for name, value in wanted.items() if message.get(name) != value]
    if wrong:
        said = f"The receipt in {where} names another {' and '.join(wrong)}."
        yield Finding("receipt-of-another", update_named(row.id), said)


def _says(row: Update, where: str, said: object) -> Iterator[Finding]:
    outcome = said if isinstance(said, dict) else {}
    if any(outcome.get(name) != value for name, value in _promised(row).items()):
        sentence = f"The receipt in {where} says {_short(outcome)}, the ledger {_short(_promised(row))}."
        yield Finding("receipt-says-otherwise", update_named(row.id), sentence)
    elif row.outcome == "counted" and outcome.get("weight") != row.weight:
        sentence = f"The receipt in {where} has weight {outcome.get('weight')}, the ledger {row.weight}."
        yield Finding("weight-differs", update_named(row.id), sentence)


def _promised(row: Update) -> Mapping[str, object]:
    """What a receipt of this row must say, its weight aside."""
    match row.outcome:
        case "counted":
            return {"outcome": "counted", "release": row.version, "window": row.window}
        case "refused":
            return {"outcome": "refused", "reason": row.reason}
        case _:
            return {"outcome": row.outcome, "window": row.window}


def _short(outcome: Mapping[str, object]) -> str:
    return " ".join(f"{name} {value}" for name, value in outcome.items() if name != "why")


def _different(update: bytes, found: Mapping[bytes, str]) -> Iterator[Finding]:
    if len(found) > 1 and update:
        said = f"It has {len(found)} different receipts, in {', '.join(sorted(found.values()))}."
        yield Finding("receipt-differs", update_named(update), said)
