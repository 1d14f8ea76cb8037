"""Counted updates: in a release of their window, invited, fit, and at the weight that their staleness earns."""

from __future__ import annotations

from collections.abc import Iterator

from .envelope import opened
from .evidence import Evidence
from .finding import Finding, update_named
from .ledger import Ledger
from .plan import Rules, base_of, body_of, cohort_of, rules_of
from .rows import Update
from .weights import earned


def judge(evidence: Evidence) -> Iterator[Finding]:
    """Counted updates that should not be, or not so."""
    for row in evidence.ledger.updates:
        if row.outcome == "counted":
            yield from _release(evidence.ledger, row)
            yield from _fitness(evidence.ledger, row)
            yield from _weight(row)


def _weight(row: Update) -> Iterator[Finding]:
    if row.staleness < 0 or row.weight != earned(row.staleness):
        said = f"Its weight is {row.weight}, and staleness {row.staleness} earns {earned(row.staleness)}."
        yield Finding("weight-unearned", update_named(row.id), said)


def _release(ledger: Ledger, row: Update) -> Iterator[Finding]:
    release = ledger.release_of.get((row.federation, row.version))
    if release is None or release.window != row.window:
        said = f"It is counted in release {row.version} of window {row.window}, which is not in the ledger."
        yield Finding("counted-nowhere", update_named(row.id), said)


def _fitness(ledger: Ledger, row: Update) -> Iterator[Finding]:
    for why in (*_uninvited(ledger, row), *_unlike(ledger, row), *_late(rules_of(ledger, row.federation), row)):
        yield Finding("counted-unfit", update_named(row.id), why)


def _uninvited(ledger: Ledger, row: Update) -> Iterator[str]:
    if row.device not in cohort_of(ledger.window_of.get((row.federation, row.named_window))):
        yield f"{row.device} was not invited to window {row.named_window}."


def _unlike(ledger: Ledger, row: Update) -> Iterator[str]:
    """Whether the plan and the base that were signed are those of the window that was named."""
    sealed, federation = opened(row.sealed), ledger.federation_of.get(row.federation)
    if sealed is None or federation is None:
        return
    base = base_of(body_of(ledger.window_of.get((row.federation, row.named_window))))
    if sealed.message.get("base") != base.get("digest"):
        yield f"It was trained on another model than window {row.named_window} offered."
    if federation.epoch == 0 and sealed.message.get("plan") != federation.plan_digest:
        yield "It was made by another plan."
    if sealed.epoch > federation.epoch:
        yield f"It was sealed in epoch {sealed.epoch}, and the federation is in {federation.epoch}."


def _late(rules: Rules, row: Update) -> Iterator[str]:
    late = row.window is not None and row.window != row.named_window
    if late and rules.late == "refuse" and rules.mode == "rounds":
        yield f"It came late for window {row.named_window}, and the plan refuses late ones."
    if row.window is not None and row.window < row.named_window:
        yield f"It is counted in window {row.window}, before the one that it names, {row.named_window}."
    if rules.max_staleness is not None and row.staleness > rules.max_staleness:
        yield f"Its staleness is {row.staleness}, and the plan takes {rules.max_staleness} at most."
