"""What came of an outage: how evenly the devices came back, how every update ended, and what it took; pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.machine import Machine
    from services.local.judgement import Judgement

MOST_RUSH: Final = 2.0
"""The goal: in no second come back more than so many times as many devices as in the mean of them all."""


@dataclass(frozen=True)
class Comeback:
    """When connections came after the way was open again, in seconds from then, sorted.

    `promised_s` is the span in which the devices were to come, by their backoff. Those who all come in one moment have
    a span of nothing, and a mean as high as you like: so the mean is that of the promised span, or of a longer one.
    """

    at: tuple[float, ...]
    promised_s: float

    @property
    def span_s(self) -> float:
        """How long it took from the first to the last."""
        return self.at[-1] - self.at[0] if self.at else 0.0

    @property
    def mean(self) -> float:
        """Connections in a second, on average."""
        return len(self.at) / max(self.span_s, self.promised_s)

    @property
    def most(self) -> int:
        """The most that came in one second, counted from the first on."""
        return max(Counter(int(at - self.at[0]) for at in self.at).values(), default=0)

    @property
    def rush(self) -> float:
        """How many times the mean that is."""
        return self.most / self.mean if self.at else 0.0


@dataclass(frozen=True)
class Rejoined:
    """An outage of `offline_s` seconds that all devices sat out with a trained update, and its end.

    `outcomes` are those of these updates by kind, as the receipts in the outboxes say them. `last_receipt_s` is when
    the last of them was there, in seconds from the end of the outage; `cpu_s` what each process used until then, and
    `peak_mb` the most memory that it ever held. `later` counts the updates of the window after, which all ended too.
    """

    devices: int
    offline_s: float
    comeback: Comeback
    outcomes: Mapping[str, int]
    last_receipt_s: float
    later: int
    cpu_s: Mapping[str, float]
    peak_mb: Mapping[str, float]
    judgement: Judgement
    machine: Machine

    @property
    def ended(self) -> int:
        """How many devices have the receipt of their update."""
        return sum(self.outcomes.values())


def figures(ran: Rejoined) -> dict[str, Any]:
    """The figures as they are written to a JSON file."""
    back = ran.comeback
    return {
        "devices": ran.devices,
        "offline_s": ran.offline_s,
        "outcomes": ran.ended,
        "outcomes_by_kind": dict(sorted(ran.outcomes.items())),
        "later_updates": ran.later,
        "reconnections": len(back.at),
        "first_reconnection_s": round(back.at[0], 2) if back.at else None,
        "reconnection_span_s": round(back.span_s, 2),
        "promised_span_s": round(back.promised_s, 2),
        "reconnections_a_second": round(back.mean, 2),
        "most_in_a_second": back.most,
        "most_over_mean": round(back.rush, 3),
        "last_receipt_s": round(ran.last_receipt_s, 2),
        "cpu_s": {name: round(spent, 2) for name, spent in ran.cpu_s.items()},
        "peak_mb": {name: round(peak, 1) for name, peak in ran.peak_mb.items()},
        "peak_mb_in_all": round(sum(ran.peak_mb.values()), 1),
        "judgement": {**ran.judgement.figures, "findings": len(ran.judgement.findings)},
        "fsync_p50_ms": round(ran.machine.fsync_p50_ms, 3),
        "load_average": round(ran.machine.load_average, 2),
        "idle_share": round(ran.machine.idle_share, 3),
    }


def complaints(ran: Rejoined) -> Sequence[str]:
    """Why the run has failed; empty if it has not."""
    found = []
    if ran.ended != ran.devices:
        found.append(f"{ran.devices} updates waited through the outage, and {ran.ended} have a receipt")
    if len(ran.comeback.at) < ran.devices:
        found.append(f"{ran.devices} devices were to come back, and {len(ran.comeback.at)} connections came")
    if ran.comeback.rush > MOST_RUSH:
        most, mean = ran.comeback.most, ran.comeback.mean
        found.append(f"{most} devices came back in one second, wanted at most {MOST_RUSH} times the mean of {mean:.1f}")
    if not ran.judgement.is_clean:
        found.append(f"the judge finds {len(ran.judgement.findings)} things wrong with the ledger or an outbox")
    return found
