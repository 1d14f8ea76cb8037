"""The verdict: everything that is wrong, and the four figures that ought to be nought."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from . import (
    again,
    blobs,
    broker,
    budgets,
    buffered,
    chain,
    charges,
    cleaned,
    conservation,
    counted,
    earlier,
    logs,
    losses,
    manifests,
    marked,
    members,
    receipts,
    releases,
    surcharges,
    updates,
    windows,
)
from .codes import CODES
from .evidence import Evidence
from .finding import Finding
from .unchecked import unchecked

_JUDGES: Final = (
    receipts.judge,
    losses.judge,
    members.judge,
    conservation.judge,
    updates.judge,
    counted.judge,
    charges.judge,
    budgets.judge,
    windows.judge,
    releases.judge,
    manifests.judge,
    blobs.judge,
    chain.judge,
    logs.judge,
    broker.judge,
    cleaned.judge,
    again.judge,
    marked.judge,
    surcharges.judge,
    buffered.judge,
    earlier.judge,
)


@dataclass(frozen=True)
class Verdict:
    """What was looked at, what is wrong with it, and the figures."""

    findings: tuple[Finding, ...]
    lost: int
    doubled: int
    receipts_without_ledger_row: int
    conservation_difference: int
    seen: Mapping[str, int]
    unchecked: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings and not any(figures(self).values())


def verdict(evidence: Evidence) -> Verdict:
    """The verdict on this evidence; each thing is found once, however many ways lead to it."""
    found = {finding for judge in _JUDGES for finding in judge(evidence)}
    return Verdict(
        findings=tuple(sorted(found)),
        lost=len(losses.lost(evidence)),
        doubled=members.doubled(evidence),
        receipts_without_ledger_row=receipts.without_row(evidence),
        conservation_difference=conservation.difference(evidence.ledger),
        seen=_seen(evidence),
        unchecked=unchecked(evidence),
    )


def figures(one: Verdict) -> Mapping[str, int]:
    """The four figures that ought to be nought, by name."""
    names = ("lost", "doubled", "receipts_without_ledger_row", "conservation_difference")
    return {name: getattr(one, name) for name in names}


def _seen(evidence: Evidence) -> Mapping[str, int]:
    outcomes = Counter(row.outcome for row in evidence.ledger.updates)
    return {
        **{outcome: outcomes[outcome] for outcome in sorted(conservation.OUTCOMES)},
        "cleaned_up": sum(one.count for one in evidence.ledger.past),
        "releases": len(evidence.ledger.releases),
        "windows": len(evidence.ledger.windows),
        "audit_rows": len(evidence.ledger.audit),
        "outboxes": len(evidence.outboxes),
        "waiting": sum(len(log.waiting) for log in evidence.outboxes),
        "messages": len(evidence.trace),
    }


def as_json(one: Verdict) -> dict[str, Any]:
    """The verdict as JSON has it: figures, findings, what was seen, and what cannot be checked any more."""
    findings = [asdict(finding) for finding in one.findings]
    return {**figures(one), "findings": findings, "seen": dict(one.seen), "unchecked": list(one.unchecked)}


def as_text(one: Verdict) -> str:
    """The verdict as people read it."""
    return "\n".join(_lines(one))


def _lines(one: Verdict) -> Iterator[str]:
    yield "Seen: " + ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in one.seen.items()) + "."
    for sentence in one.unchecked:
        yield f"Cannot be checked any more: {sentence}."
    for finding in one.findings:
        yield f"WRONG {finding.code}: {finding.subject}. {finding.sentence} [{CODES[finding.code]}]"
    yield ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in figures(one).items())
    yield "Nothing is wrong." if one.is_clean else f"{len(one.findings)} findings."
