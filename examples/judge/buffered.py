"""How windows collect (ADR 13): a buffered one holds its goal and no more; stale is who began from an older model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .evidence import Evidence
from .finding import Finding, release_named, update_named, window_named
from .ledger import Ledger
from .plan import body_of, rules_of
from .rows import Release, Update, Window


def judge(evidence: Evidence) -> Iterator[Finding]:
    """Windows that hold more than they may, and updates whose staleness is not what the mode says."""
    ledger = evidence.ledger
    bound = Counter((row.federation, row.window) for row in ledger.updates if row.window is not None)
    for window in ledger.windows:
        yield from _holds(ledger, window, bound[window.federation, window.number])
    for release in ledger.releases:
        yield from _release(ledger, release)
    for row in ledger.updates:
        yield from _staleness(ledger, row)
        yield from _waits(ledger, row)


def _is_buffered(ledger: Ledger, federation: str) -> bool:
    return rules_of(ledger, federation).mode == "buffered"


def _holds(ledger: Ledger, window: Window, bound: int) -> Iterator[Finding]:
    """The ledger binds a buffered window's goal to it, refused contents among them, and not one more."""
    goal = body_of(window).get("goal")
    if _is_buffered(ledger, window.federation) and isinstance(goal, int) and bound > goal:
        said = f"{bound} updates are bound to it, and its goal is {goal}."
        yield Finding("window-overfull", window_named(window.federation, window.number), said)


def _release(ledger: Ledger, release: Release) -> Iterator[Finding]:
    """Buffered, every envelope counts to the goal, whichever window it names; n_max bounds every sum."""
    body = body_of(ledger.window_of.get((release.federation, release.window)))
    goal, most = body.get("goal"), body.get("most")
    if isinstance(most, int) and release.members > most:
        said = f"It has {release.members} members, and its window has room for {most}."
        yield Finding("window-overfull", release_named(release.federation, release.version), said)
    if not _is_buffered(ledger, release.federation) or not isinstance(goal, int):
        return
    if not release.members <= release.arrived <= goal:
        said = f"It has {release.members} members of {release.arrived} that arrived, and its goal is {goal}."
        yield Finding("window-overfull", release_named(release.federation, release.version), said)


def _staleness(ledger: Ledger, row: Update) -> Iterator[Finding]:
    """In rounds from window to window; buffered from the model of one to the model of the other."""
    if row.window is None or row.outcome not in {"open", "counted"}:
        return
    apart = row.window - row.named_window
    if _is_buffered(ledger, row.federation):
        named = ledger.window_of.get((row.federation, row.named_window))
        bound = ledger.window_of.get((row.federation, row.window))
        if named is None or bound is None:
            return
        apart = bound.base_version - named.base_version
    if row.staleness != apart:
        said = f"Its staleness is {row.staleness}; from window {row.named_window} to {row.window} it is {apart}."
        yield Finding("staleness-differs", update_named(row.id), said)


def _waits(ledger: Ledger, row: Update) -> Iterator[Finding]:
    """Buffered, what waits for a window has nothing reserved."""
    waits = row.outcome == "open" and row.window is None and _is_buffered(ledger, row.federation)
    charge = ledger.charge_of.get(row.id) if waits else None
    if charge is not None:
        said = f"It waits for a window, and {charge.loss} is {charge.state} for it."
        yield Finding("charge-while-waiting", update_named(row.id), said)
