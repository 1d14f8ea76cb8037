"""Windows: each opened once, one open at a time, each with what its state needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from .evidence import Evidence
from .finding import Finding, window_named
from .holes import holes
from .ledger import Ledger
from .plan import base_of, body_of
from .restored import aliases, lost_windows
from .rows import Federation, Window


def judge(evidence: Evidence) -> Iterator[Finding]:
    """What is wrong with windows."""
    ledger = evidence.ledger
    for window in ledger.windows:
        yield from _columns(window)
        yield from _body(ledger, window)
        yield from _release(ledger, window)
        yield from _halt(ledger, window)
    yield from _once(ledger)
    for one in ledger.federations:
        yield from _holes(ledger, one.federation)
        yield from _one_open(ledger, one.federation)
        yield from _turns(ledger, one.federation)
        yield from _stop(ledger, one)


def _columns(window: Window) -> Iterator[Finding]:
    ended, versioned = window.ended_at is not None, window.version is not None
    wanted = {"open": (False, False), "released": (True, True), "abandoned": (True, False)}.get(window.state)
    if (ended, versioned) != wanted:
        said = f"It is {window.state}, ended at {window.ended_at}, with release {window.version}."
        yield Finding("window-contradicts-itself", window_named(window.federation, window.number), said)


def _body(ledger: Ledger, window: Window) -> Iterator[Finding]:
    body, base = body_of(window), base_of(body_of(window))
    offered = model_of(ledger, window.federation, window.base_version)
    pairs = {
        "number": (body.get("number"), window.number),
        "deadline": (body.get("deadline"), window.deadline),
        "base version": (base.get("version"), window.base_version),
        "base model": (base.get("digest"), offered),
    }
    wrong = [name for name, (said, kept) in pairs.items() if said != kept]
    if wrong:
        said = f"Its message has another {' and '.join(wrong)} than the ledger."
        yield Finding("window-body", window_named(window.federation, window.number), said)


def model_of(ledger: Ledger, federation: str, version: int) -> bytes | None:
    """The digest of the model of this version; version 0 is the one that the federation began with."""
    version = aliases(ledger, federation).get(version, version)
    if version == 0 and federation in ledger.federation_of:
        return ledger.federation_of[federation].model_digest
    release = ledger.release_of.get((federation, version))
    return release.model_digest if release else None


def _release(ledger: Ledger, window: Window) -> Iterator[Finding]:
    release = ledger.release_of.get((window.federation, window.version))
    if window.version is not None and (release is None or release.window != window.number):
        said = f"It says that it became release {window.version}, which is not in the ledger."
        yield Finding("window-without-release", window_named(window.federation, window.number), said)


def _halt(ledger: Ledger, window: Window) -> Iterator[Finding]:
    federation = ledger.federation_of.get(window.federation)
    halted_at = federation.halted_at if federation else None
    if halted_at is not None and window.opened_at > halted_at:
        said = f"It was opened at {window.opened_at}, after the stop at {halted_at}."
        yield Finding("opened-after-halt", window_named(window.federation, window.number), said)


def _stop(ledger: Ledger, federation: Federation) -> Iterator[Finding]:
    acts = [act for act in ledger.audit if (act.federation, act.action) == (federation.federation, "federation.halted")]
    if federation.halted is not None and not acts:
        said = f"It is halted ({federation.halted}), and the log does not say so."
        yield Finding("halt-unlogged", federation.federation, said)


def _once(ledger: Ledger) -> Iterator[Finding]:
    """No number stands in the table twice, and none was opened twice by the log."""
    rows = Counter((one.federation, str(one.number)) for one in ledger.windows)
    acts = Counter((act.federation, act.subject) for act in ledger.audit if act.action == "window.opened")
    for federation, number in sorted((rows | acts).keys()):
        times = max(rows[federation, number], acts[federation, number])
        if times > 1:
            yield Finding("window-twice", f"window {federation}/{number}", f"It was opened {times} times.")


def _holes(ledger: Ledger, federation: str) -> Iterator[Finding]:
    """Each window follows the one before it; only those that a restored ledger does not know are left out."""
    numbers = (one.number for one in ledger.windows if one.federation == federation)
    for missing, after in holes(numbers, lost_windows(ledger, federation)):
        said = f"It is not there, and window {after} is."
        yield Finding("window-hole", window_named(federation, missing), said)


def _one_open(ledger: Ledger, federation: str) -> Iterator[Finding]:
    numbers = sorted(one.number for one in ledger.windows if (one.federation, one.state) == (federation, "open"))
    if len(numbers) > 1:
        said = f"Windows {', '.join(map(str, numbers))} are open at once."
        yield Finding("windows-open", federation, said)


def _turns(ledger: Ledger, federation: str) -> Iterator[Finding]:
    """By the log, whose order no clock can turn: a window is opened only once the one before it has ended."""
    acts = [act for act in ledger.audit if act.federation == federation and act.action.startswith("window.")]
    for before, after in pairwise(acts):
        if before.action == after.action == "window.opened" and before.subject != after.subject:
            said = f"Window {after.subject} was opened before window {before.subject} had ended, by the log."
            yield Finding("windows-open", federation, said)
