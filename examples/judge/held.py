"""Receipts that left the ledger: those in a device's outbox and those that the broker carried."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .evidence import Evidence
from .trace import downward


@dataclass(frozen=True)
class Held:
    """A receipt that somebody got: where it was found, for which device, update and window."""

    where: str
    device: str
    update: bytes
    window: int | None  # nothing where the finder does not name one beside the receipt
    sealed: bytes


def held(evidence: Evidence) -> Iterator[Held]:
    """Every receipt that is found outside the ledger."""
    for log in evidence.outboxes:
        for kept in log.receipts:
            yield Held(f"{log.device}'s outbox", log.device, kept.id, kept.window, kept.sealed)
    for said in downward(evidence.trace, "receipt"):
        named = said.sealed.message.get("update") if said.sealed else None
        update = named if isinstance(named, bytes) else b""
        yield Held(f"the trace, to {said.device}", said.device, update, None, said.body)


def copies(evidence: Evidence) -> Mapping[bytes, Mapping[bytes, str]]:
    """By update, every different receipt of it anywhere, and one place where each was found."""
    found: dict[bytes, dict[bytes, str]] = defaultdict(dict)
    for row in evidence.ledger.updates:
        if row.receipt is not None:
            found[row.id].setdefault(row.receipt, "the ledger")
    for one in held(evidence):
        found[one.update].setdefault(one.sealed, one.where)
    return found
