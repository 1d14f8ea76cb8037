"""Receipts: genuine, for the right update, of the outcome in the ledger, and one for each update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .envelope import Sealed, is_sealed_by, opened
from .evidence import Evidence
from .finding import Finding, update_named
from .held import Held, copies, held
from .ledger import Ledger
from .rows import Update


def judge(evidence: Evidence) -> Iterator[Finding]:
    """What is wrong with receipts, in the ledger and out of it."""
    for row in evidence.ledger.updates:
        yield from _of_row(evidence.ledger, row)
    for one in held(evidence):
        yield from _of_held(evidence.ledger, one)
    for update, found in copies(evidence).items():
        yield from _different(update, found)


def without_row(evidence: Evidence) -> int:
    """How many receipts somebody got of which the ledger does not have these very bytes."""
    known = {row.receipt for row in evidence.ledger.updates}
    return len({one.sealed for one in held(evidence)} - known)


def genuine(ledger: Ledger, federation: str, body: bytes) -> Sealed | None:
    """The receipt in these bytes, if this federation's receipt key sealed it and nothing follows."""
    sealed = opened(body)
    key = ledger.server_key_of.get((federation, "receipt"), b"")
    if sealed is None or sealed.purpose != "receipt" or sealed.after or not is_sealed_by(sealed, key):
        return None
    return sealed


def _of_row(ledger: Ledger, row: Update) -> Iterator[Finding]:
    if row.receipt is None and row.outcome != "open":
        yield Finding("receipt-missing", update_named(row.id), f"The ledger says {row.outcome}, without a receipt.")
    if row.receipt is not None and row.outcome == "open":
        yield Finding("receipt-while-open", update_named(row.id), "The ledger says open, and has a receipt.")
    if row.receipt is not None:
        yield from _of_receipt(ledger, row, "the ledger", row.receipt)


def _of_held(ledger: Ledger, one: Held) -> Iterator[Finding]:
    row = ledger.update_of.get(one.update)
    if row is None or row.receipt is None:
        yield Finding("receipt-without-row", update_named(one.update), f"{one.where} has a receipt, the ledger none.")
    if row is None:
        yield from _unknown(ledger, one)
    elif one.sealed != row.receipt:
        yield from _of_receipt(ledger, row, one.where, one.sealed)
    if row is not None and (one.device != row.device or one.window not in {None, row.named_window}):
        said = f"{one.where} files it under {one.device} and window {one.window}, but it is {row.device}'s"
        yield Finding("receipt-of-another", update_named(one.update), f"{said} for window {row.named_window}.")


def _unknown(ledger: Ledger, one: Held) -> Iterator[Finding]:
    """A receipt for an update that the ledger does not know may be genuine all the same, and then is the worse."""
    if not any(genuine(ledger, federation, one.sealed) for federation in ledger.federation_of):
        yield Finding("receipt-forged", update_named(one.update), f"{one.where} has one that no federation sealed.")


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
