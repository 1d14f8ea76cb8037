"""The two equations that hold at every instant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from .envelope import opened
from .evidence import Evidence
from .finding import Finding, window_named
from .ledger import Ledger
from .past import endings
from .rows import Update

OUTCOMES: Final = frozenset({"open", "counted", "refused", "abandoned"})
_KINDS: Final = frozenset({"first", "duplicate", "unauthenticated"})


def judge(evidence: Evidence) -> Iterator[Finding]:
    """Windows and federations whose equation does not come out."""
    for (federation, number), (admitted, ended) in by_window(evidence.ledger).items():
        if admitted != ended:
            said = f"{admitted} updates name it in what was signed, {ended} in a row with an outcome."
            yield Finding("conservation-window", window_named(federation, number), said)
    for federation, (first, rows) in by_federation(evidence.ledger).items():
        if first != rows:
            said = f"{first} first admissions were counted, {rows} updates are in the ledger or were cleaned up."
            yield Finding("conservation-deliveries", federation, said)
    for one in evidence.ledger.deliveries:
        if one.kind not in _KINDS or one.count < 0:
            said = f"The ledger counts {one.count} deliveries as {one.kind}."
            yield Finding("conservation-deliveries", one.federation, said)


def difference(ledger: Ledger) -> int:
    """By how much the equations are off, all together."""
    pairs = (*by_window(ledger).values(), *by_federation(ledger).values())
    return sum(abs(left - right) for left, right in pairs)


def by_window(ledger: Ledger) -> Mapping[tuple[str, int], tuple[int, int]]:
    """Distinct updates admitted, by their signed header, and ended or open, by a row with one of the four outcomes.

    What was cleaned up goes on in both sums; of those no header is left, and each must have ended.
    """
    rows, past = ledger.update_of.values(), endings(ledger)
    admitted = Counter(_signed_window(row) for row in rows)
    ended = Counter((row.federation, row.named_window) for row in rows if row.outcome in OUTCOMES)
    for (federation, number, outcome, _, _), count in past.items():
        admitted[federation, number] += count
        ended[federation, number] += count if outcome in OUTCOMES - {"open"} else 0
    return {place: (admitted[place], ended[place]) for place in sorted(admitted.keys() | ended.keys())}


def _signed_window(row: Update) -> tuple[str, int]:
    """The window that the device signed; the row's own where the header cannot be read."""
    sealed = opened(row.sealed)
    message = sealed.message if sealed else {}
    federation, window = message.get("federation"), message.get("window")
    if isinstance(federation, str) and isinstance(window, int):
        return federation, window
    return row.federation, row.named_window


def by_federation(ledger: Ledger) -> Mapping[str, tuple[int, int]]:
    """First admissions as they were counted, and the updates that there are or were."""
    first = {one.federation: one.count for one in ledger.deliveries if one.kind == "first"}
    rows = Counter(row.federation for row in ledger.update_of.values())
    for (federation, *_), count in endings(ledger).items():
        rows[federation] += count
    return {name: (first.get(name, 0), rows[name]) for name in sorted(first.keys() | rows.keys())}
