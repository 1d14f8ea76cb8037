"""What the gateway shows beside its own loop: whether the broker hears it, and what nobody vouched for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client.registry import Collector

from mizzle import reasons
from services.runtime.metrics import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client.metrics_core import Metric

    from services.runtime.metrics import Meters

OTHER: Final = "other"


@dataclass(frozen=True, eq=False)  # a registry knows its collectors by identity
class GatewayFigures(Collector):
    """The gateway's own figures."""

    meters: Meters
    is_heard: Callable[[], bool]

    def collect(self) -> Iterable[Metric]:
        """The figures as they are now; a reason that nobody explains is counted as `other`."""
        known = sorted(reasons.words("delivery"))
        counts = dict.fromkeys((*known, OTHER), 0)
        for reason, count in tuple(self.meters.unauthenticated.items()):
            counts[reason if reason in known else OTHER] += count
        yield CATALOGUE["mizzle_broker_heard"].family({(): float(self.is_heard())})
        yield CATALOGUE["mizzle_unauthenticated_total"].family({(word,): count for word, count in counts.items()})
