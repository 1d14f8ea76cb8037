"""The ledger's rows of updates: what the device signed, and what each outcome needs."""

from __future__ import annotations

from collections.abc import Iterator

from .conservation import OUTCOMES
from .envelope import Sealed, is_sealed_by, opened
from .evidence import Evidence
from .finding import Finding, update_named
from .ledger import Ledger
from .restored import gaps
from .rows import Update


def judge(evidence: Evidence) -> Iterator[Finding]:
    """Rows that their header or their own columns contradict, and rows that are none."""
    for column in evidence.ledger.misfits:
        yield Finding("cell-of-another-type", column, "A row has a value there that is not of the column's type.")
    for row in evidence.ledger.updates:
        yield from _header(evidence.ledger, row)
        yield from _columns(row)
        yield from _place(evidence.ledger, row)


def _header(ledger: Ledger, row: Update) -> Iterator[Finding]:
    device = ledger.device_of.get((row.federation, row.device))
    sealed = opened(row.sealed)
    if device is None:
        yield Finding("device-unknown", update_named(row.id), f"{row.device} is not enrolled in {row.federation}.")
    elif sealed is None or not is_header(sealed, row.id, device.public_key):
        said = f"Its header is not what {row.device} signed under this id."
        yield Finding("header-forged", update_named(row.id), said)
    if sealed is not None:
        yield from _repeats(row, sealed)


def is_header(sealed: Sealed, update: bytes, key: bytes) -> bool:
    """Whether this is the header of this update and this key sealed it."""
    whole = sealed.purpose == "update" and not sealed.after
    return whole and sealed.id == update and is_sealed_by(sealed, key)


def _repeats(row: Update, sealed: Sealed) -> Iterator[Finding]:
    said = {"federation": row.federation, "device": row.device, "window": row.named_window}
    wrong = [name for name, value in said.items() if sealed.message.get(name) != value]
    if wrong:
        sentence = f"The row has another {' and '.join(wrong)} than the header that was signed."
        yield Finding("header-differs", update_named(row.id), sentence)


def _columns(row: Update) -> Iterator[Finding]:
    if row.outcome not in OUTCOMES:
        yield Finding("row-contradicts-itself", update_named(row.id), f"{row.outcome!r} is no outcome.")
        return
    wanted = {
        "version": row.outcome == "counted",
        "reason": row.outcome == "refused",
        "ended_at": row.outcome != "open",
    }
    wrong = [name for name, there in wanted.items() if (getattr(row, name) is not None) != there]
    if row.outcome in {"counted", "abandoned"} and row.window is None:
        wrong.append("window")
    if wrong:
        said = f"The row says {row.outcome}, which its {' and '.join(wrong)} contradicts."
        yield Finding("row-contradicts-itself", update_named(row.id), said)


def _place(ledger: Ledger, row: Update) -> Iterator[Finding]:
    window = ledger.window_of.get((row.federation, row.window))
    state = window.state if window else "not in the ledger"
    if row.outcome == "abandoned" and state != "abandoned":
        said = f"It is abandoned with window {row.window}, which is {state}."
        yield Finding("abandoned-elsewhere", update_named(row.id), said)
    restorations = gaps(ledger, row.federation)
    if row.reason == "restored" and not any(row.named_window <= gap.newest_window for gap in restorations):
        said = f"It is refused as restored, and no restoration lost window {row.named_window}."
        yield Finding("restored-unfounded", update_named(row.id), said)
    if row.outcome == "open" and row.window is not None and state != "open":
        yield Finding("open-after-end", update_named(row.id), f"It is open in window {row.window}, which is {state}.")
