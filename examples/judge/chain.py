"""The audit log: whole from its first row to its last, and saying what the ledger says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from .books import Act
from .evidence import Evidence
from .finding import Finding, release_named, window_named
from .ledger import Ledger
from .plan import written
from .restored import is_skipped
from .rows import Release, Window


def judge(evidence: Evidence) -> Iterator[Finding]:
    """Where the chain breaks, and what is missing or different in it."""
    ledger = evidence.ledger
    yield from _links(ledger.audit)
    for window in ledger.windows:
        yield from _acts(ledger, window)
    for release in ledger.releases:
        yield from _says(ledger, release)
    yield from _unkept(ledger)


def _links(acts: tuple[Act, ...]) -> Iterator[Finding]:
    before = bytes(32)
    for number, act in enumerate(acts, start=1):
        named = f"audit row {act.seq}"
        if act.seq != number:
            yield Finding("audit-broken", named, f"It stands where row {number} should be.")
            return
        if act.previous != before:
            yield Finding("audit-broken", named, "It does not bind the row before it.")
        if act.hash not in hashes(act):
            yield Finding("audit-broken", named, "It is not what was hashed.")
        before = act.hash


def hashes(act: Act) -> tuple[bytes, bytes]:
    """The hash of a row, with JSON's text as it is and with it escaped: the promise leaves this open."""
    row = {
        "action": act.action,
        "actor": act.actor,
        "at": act.at,
        "body": act.body,
        "federation": act.federation,
        "previous": act.previous.hex(),
        "seq": act.seq,
        "subject": act.subject,
    }
    plain = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    escaped = json.dumps(row, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).digest(), hashlib.sha256(escaped.encode()).digest()


def _acts(ledger: Ledger, window: Window) -> Iterator[Finding]:
    """A window that was opened and ended has a row for each; one that was skipped was neither."""
    if is_skipped(ledger, window.federation, window.number):
        return
    named = {act.action for act in ledger.audit if _is_of(act, window.federation, window.number)}
    for action in ("window.opened", f"window.{window.state}"):
        if action not in named and action != "window.open":
            said = f"The log has no {action} for it."
            yield Finding("audit-missing", window_named(window.federation, window.number), said)
    for action in sorted(named - {"window.opened", f"window.{window.state}"}):
        said = f"The log has {action} for it, and the ledger says {window.state}."
        yield Finding("audit-differs", window_named(window.federation, window.number), said)


def _is_of(act: Act, federation: str, number: int) -> bool:
    ends = {"window.opened", "window.released", "window.abandoned"}
    return act.federation == federation and act.subject == str(number) and act.action in ends


def _says(ledger: Ledger, release: Release) -> Iterator[Finding]:
    promised = {
        "version": release.version,
        "manifest": release.manifest_digest.hex(),
        "total": release.total_digest.hex(),
    }
    for act in ledger.audit:
        if act.action == "window.released" and _is_of(act, release.federation, release.window):
            wrong = [name for name, value in promised.items() if written(act).get(name, value) != value]
            if wrong:
                said = f"Row {act.seq} of the log has another {' and '.join(wrong)}."
                yield Finding("audit-differs", release_named(release.federation, release.version), said)


def _unkept(ledger: Ledger) -> Iterator[Finding]:
    """Windows that the log has and the ledger has not."""
    kept = {(one.federation, str(one.number)) for one in ledger.windows}
    for act in ledger.audit:
        if act.action == "window.opened" and (act.federation, act.subject) not in kept:
            said = f"Row {act.seq} of the log opens it, and the ledger does not know it."
            yield Finding("audit-differs", f"window {act.federation}/{act.subject}", said)
