"""What the accountant shows beside its own loop: the ledger's accounts, and how the other services are.

It is the one that knows the ledger best, and a service that is stopped cannot say so itself.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client.registry import Collector

from mizzle import accounting, reasons
from mizzle.errors import Away
from mizzle.terms import mechanism_of
from services.ledger import budgets, conservation
from services.ledger.engine import reading
from services.pipeline import FLOW
from services.runtime.equipment import log_of
from services.runtime.metrics import CATALOGUE, Kept

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from mizzle.plan import Plan
    from services.ledger.conservation import Accounts
    from services.ledger.ledger import Ledger
    from services.runtime.equipment import Equipment
    from services.runtime.redis_log import RedisLog

KINDS: Final = ("first", "duplicate", "unauthenticated")


@dataclass(frozen=True)
class Books:
    """The accounts, and Σμ² of the device of the federation that has spent or reserved most."""

    accounts: Accounts
    spent: int


class LedgerFigures(Collector):
    """The federation's accounts, and its ε: the number that is shown everywhere, and that the stop is on."""

    def __init__(self, ledger: Ledger, plan: Plan) -> None:
        """The figures of one federation; nothing is read yet."""
        self._plan = plan
        self._books = Kept(lambda: _read(ledger))

    def collect(self) -> Iterable[Metric]:
        """The figures, a few seconds old at most while the ledger answers, and their age."""
        books, age = self._books.get()
        if books is None:
            return
        found = books.accounts
        refused = dict.fromkeys(sorted(reasons.words("receipt") - {"counted", "abandoned"}) + [reasons.CONTENT], 0)
        refused.pop("history", None)
        for reason, count in found.refused.items():
            refused[reasons.countable(reason)] += count
        yield CATALOGUE["mizzle_ledger_age_seconds"].family({(): age})
        yield _each("mizzle_updates", conservation.OUTCOMES, found.outcomes)
        yield _each("mizzle_refused_updates", refused, refused)
        yield _each("mizzle_deliveries_total", KINDS, found.deliveries)
        yield CATALOGUE["mizzle_conservation_difference"].family({(): found.difference})
        yield _each("mizzle_windows", conservation.STATES, found.windows)
        yield CATALOGUE["mizzle_window_number"].family({(): found.window})
        yield CATALOGUE["mizzle_release_version"].family({(): found.version})
        yield from self._epsilon(books.spent)

    def _epsilon(self, spent: int) -> Iterator[Metric]:
        """ε and where it stops, each with its sentence; neither where the plan claims nothing."""
        privacy, federation = self._plan.privacy, (self._plan.federation,)
        if not mechanism_of(self._plan).claims:
            return
        meaning = f" {accounting.meaning(privacy.delta)}"
        epsilon = accounting.epsilon(spent, privacy.delta)
        yield CATALOGUE["mizzle_epsilon_spent"].family({federation: epsilon}, also=meaning)
        budget = min(privacy.device_budget, privacy.federation_budget)
        yield CATALOGUE["mizzle_epsilon_budget"].family({federation: budget}, also=meaning)


class PeerFigures(Collector):
    """How every service is, as its pulse and its streams show it from outside."""

    def __init__(self, logs: Mapping[str, RedisLog]) -> None:
        """The figures of these services, by name."""
        self._logs = logs

    def collect(self) -> Iterable[Metric]:
        """The figures as they are now; a service that never turned has no pulse; nothing where Redis is away."""
        now = time.time_ns() // 1_000_000
        try:
            pulses = {name: log.pulse() for name, log in self._logs.items()}
            lags = {name: log.lags() for name, log in self._logs.items()}
            letters = next(iter(self._logs.values())).letters()
        except Away:
            return
        ages = {(name,): (now - pulse) / 1000 for name, pulse in pulses.items() if pulse is not None}
        behind = {(name, stream): lag.entries for name, found in lags.items() for stream, lag in found.items()}
        yield CATALOGUE["mizzle_peer_pulse_age_seconds"].family(ages)
        yield CATALOGUE["mizzle_peer_lag_entries"].family(behind)
        yield CATALOGUE["mizzle_dead_letters_kept"].family({(): letters})


def figures(equipment: Equipment) -> tuple[Collector, ...]:
    """What the accountant shows beside its own loop."""
    ledger, settings = equipment.ledger, equipment.settings
    logs = {place.service: log_of(place, settings, ledger) for place in FLOW}
    return LedgerFigures(ledger, equipment.ground.plan), PeerFigures(logs)


def _read(ledger: Ledger) -> Books:
    with reading(ledger.engine) as tx:
        found = conservation.accounts(tx, ledger.federation)
        return Books(found, budgets.most_spent(tx, ledger.federation))


def _each(name: str, labels: Iterable[str], counts: Mapping[str, int]) -> Metric:
    return CATALOGUE[name].family({(label,): counts.get(label, 0) for label in labels})
