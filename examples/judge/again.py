"""Receipts `refused: already-ended`: for updates that were cleaned up, and made of nothing that changes (ADR 19)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from .evidence import Evidence
from .excused import counters, excused
from .finding import Finding, update_named
from .genuine import Told, told
from .past import has_ended, memories
from .restored import gaps


def judge(evidence: Evidence) -> Iterator[Finding]:
    """Such receipts for updates whose end is known, for such as have not ended, and those that are not the same."""
    found: dict[bytes, set[bytes]] = defaultdict(set)
    for body, why in excused(evidence).items():
        one = told(evidence.ledger, body) if why == "again" else None
        if one is not None:
            found[one.update].add(body)
            yield from _of(evidence, one)
    for update, bodies in found.items():
        if len(bodies) > 1:
            said = f"It was told {len(bodies)} times that it has ended, and in different bytes."
            yield Finding("again-differs", update_named(update), said)


def _of(evidence: Evidence, one: Told) -> Iterator[Finding]:
    """A ledger that was restored may have been given back what a newer one had cleaned up."""
    ledger = evidence.ledger
    window = ledger.window_of.get((one.federation, one.window))
    if window is not None and (one.at, one.counter) != (window.deadline, window.deadline):
        said = f"It is told so as of {one.at}, number {one.counter}, and its window's deadline is {window.deadline}."
        yield Finding("again-differs", update_named(one.update), said)
    if gaps(ledger, one.federation) and one.update in ledger.update_of:
        return
    if one.update in ledger.update_of:
        said = (
            f"It was told that nobody knows how it ended, and the ledger says {ledger.update_of[one.update].outcome}."
        )
        yield Finding("again-and-there", update_named(one.update), said)
    elif not _may_have_ended(evidence, one):
        said = f"It was told that it has ended, and what is remembered of {one.device} does not say so."
        yield Finding("again-unended", update_named(one.update), said)


def _may_have_ended(evidence: Evidence, one: Told) -> bool:
    memory, counter = memories(evidence.ledger).get((one.federation, one.device)), counters(evidence).get(one.update)
    if counter is not None:
        return has_ended(memory, counter, one.window)
    return memory is not None and one.window <= memory.named_window
