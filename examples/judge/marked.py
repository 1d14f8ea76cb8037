"""Restorations: each has its place in the log, and until a person let it go on nothing was opened or released."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .books import Act
from .evidence import Evidence
from .finding import Finding, release_named, window_named
from .ledger import Ledger
from .plan import cohort_of, said_at, written
from .restored import Gap, gaps, is_skipped

_WHILE_MARKED: Final = {"window.opened": "opened-while-marked", "window.released": "released-while-marked"}


def judge(evidence: Evidence) -> Iterator[Finding]:
    """What was done while a ledger waited for a person, and restorations that contradict themselves."""
    ledger = evidence.ledger
    for one in ledger.federations:
        ours = gaps(ledger, one.federation)
        for gap in ours:
            yield from _acts(gap)
            yield from _numbers(ledger, gap)
            yield from _meanwhile(ledger, gap)
            yield from _again(ledger, gap)
        yield from _skipped(ledger, one.federation)
        yield from _unknown(ledger, one.federation, len(ours))


def _named(gap: Gap) -> str:
    return f"restoration {gap.row.federation}/{gap.row.number}"


def _acts(gap: Gap) -> Iterator[Finding]:
    """It was restored, and resumed, by the table and by the log."""
    for action, act, is_so in (
        ("ledger.restored", gap.restored, True),
        ("ledger.resumed", gap.resumed, gap.row.resumed_at is not None),
    ):
        if is_so and act is None:
            yield Finding("audit-missing", _named(gap), f"The log has no {action} for it.")
        if act is not None and not is_so:
            yield Finding("audit-differs", _named(gap), f"Row {act.seq} of the log has {action}, the table has not.")


def _numbers(ledger: Ledger, gap: Gap) -> Iterator[Finding]:
    """A person said why, and numbers that are no less than what is known and no more than there can have been."""
    row, act = gap.row, gap.resumed
    if row.resumed_at is None:
        return
    known = ledger.window_of.get((row.federation, gap.known_window))
    was_open = known is not None and known.state == "abandoned"
    most = max(row.window - gap.known_window, 0) + was_open
    wanted = row.version + 1 if gap.lost_releases else gap.known_version
    if not row.because or min(row.version - gap.known_version, row.window - gap.known_window) < 0:
        said = f"It went on after release {row.version} and window {row.window}, because {row.because!r};"
        said = f"{said} release {gap.known_version} and window {gap.known_window} are known."
        yield Finding("restoration-contradicts-itself", _named(gap), said)
    if gap.lost_releases > most or row.closed_at is None or row.base_version not in {wanted, None}:
        said = f"{gap.lost_releases} releases are lost and {most} windows; closed at {row.closed_at}"
        said = f"{said}, it went on as {row.base_version}, not {wanted}."
        yield Finding("restoration-contradicts-itself", _named(gap), said)
    promised = {"version": row.version, "window": row.window, "because": row.because, "base_version": row.base_version}
    wrong = [name for name, value in promised.items() if act and said_at(written(act), name) != value]
    if wrong:
        yield Finding("audit-differs", _named(gap), f"The log has it resumed with another {' and '.join(wrong)}.")


def _meanwhile(ledger: Ledger, gap: Gap) -> Iterator[Finding]:
    for act in ledger.audit:
        if act.federation == gap.row.federation and act.action in _WHILE_MARKED and gap.is_within(act):
            said = f"Row {act.seq} of the log has {act.action} while the ledger waited for a person."
            yield Finding(_WHILE_MARKED[act.action], f"window {act.federation}/{act.subject}", said)


def _again(ledger: Ledger, gap: Gap) -> Iterator[Finding]:
    """What was made after it bears numbers that nobody had seen."""
    for act in (act for act in ledger.audit if gap.resumed and act.seq > gap.resumed.seq):
        version, window = said_at(written(act), "version"), act.number
        if act.federation != gap.row.federation:
            continue
        if act.action == "window.released" and isinstance(version, int) and version <= (gap.row.base_version or 0):
            said = f"It was made after the ledger had gone on as release {gap.row.base_version}."
            yield Finding("version-reused", release_named(act.federation, version), said)
        if act.action == "window.opened" and window is not None and window <= gap.row.window:
            said = f"It was opened after the ledger had gone on after window {gap.row.window}."
            yield Finding("window-reused", window_named(act.federation, window), said)


def _skipped(ledger: Ledger, federation: str) -> Iterator[Finding]:
    """A window that nobody was in stands for all that are lost, up to the newest."""
    for window in ledger.windows:
        if window.federation == federation and is_skipped(ledger, federation, window.number):
            inside = sum((row.federation, row.window) == (federation, window.number) for row in ledger.updates)
            if window.state != "abandoned" or cohort_of(window) or inside:
                said = f"It was skipped, and is {window.state}, with {inside} updates in it."
                yield Finding("window-contradicts-itself", window_named(federation, window.number), said)


def _unknown(ledger: Ledger, federation: str, rows: int) -> Iterator[Finding]:
    acts: list[Act] = [act for act in ledger.audit if act.federation == federation]
    logged = sum(act.action == "ledger.restored" for act in acts)
    if logged > rows:
        said = f"The log has {logged} restorations, and the table {rows}."
        yield Finding("audit-differs", federation, said)
