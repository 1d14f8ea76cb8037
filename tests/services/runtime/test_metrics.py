"""The figures that a service shows: how old they may be, where they stand, and that their labels stay few."""

import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from mizzle.accounting import meaning
from mizzle.errors import Away, Misconfigured
from mizzle.plan import from_toml
from mizzle.reasons import CONTENT
from mizzle.topics import Keyspace
from services.gateway.figures import OTHER, GatewayFigures
from services.local.waiting import LOOPBACK, free_port
from services.pipeline import hop
from services.privacy_accountant.figures import LedgerFigures
from services.runtime.metrics import Kept, LoopFigures, Meters, shown
from services.runtime.redis_log import RedisLog, connected
from tests.services.federations import federation
from tests.services.plans import MODEL, TOML


@dataclass
class Store:
    """A store that takes `takes` seconds of a clock that it turns, and may be away."""

    takes: float = 0.0
    now: float = 100.0
    is_away: bool = False
    asked: int = field(default=0)

    def ask(self) -> int:
        self.now += self.takes
        if self.is_away:
            raise Away("gone")
        self.asked += 1
        return self.asked

    def clock(self) -> float:
        return self.now


def test_a_figure_is_made_when_it_is_asked_for_and_kept_for_two_seconds() -> None:
    store = Store()
    kept = Kept(store.ask, store.clock)
    assert [kept.get(), kept.get()] == [(1, 0.0), (1, 0.0)]
    store.now += 1.9
    made, age = kept.get()
    assert (made, round(age, 6)) == (1, 1.9)
    store.now += 0.2
    assert kept.get() == (2, 0.0)


def test_a_figure_that_costs_is_kept_fifty_times_as_long_as_it_took() -> None:
    store = Store(takes=0.1)
    kept = Kept(store.ask, store.clock)
    kept.get()
    store.now += 4.9
    assert kept.get()[0] == 1
    store.now += 0.2
    assert kept.get()[0] == 2


def test_while_the_store_is_away_the_last_figure_stands_and_grows_old() -> None:
    store = Store()
    kept = Kept(store.ask, store.clock)
    kept.get()
    store.is_away = True
    store.now += 60
    assert kept.get() == (1, 60.0)


def test_a_figure_that_could_never_be_made_is_none() -> None:
    store = Store(is_away=True)
    assert Kept(store.ask, store.clock).get()[0] is None


def test_the_page_stands_at_its_address_while_it_is_shown_and_then_no_more() -> None:
    address = f"{LOOPBACK}:{free_port()}"
    with shown(CollectorRegistry(), address):
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as page:
            assert page.status == 200
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://{address}/", timeout=5)
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(f"http://{address}/metrics", timeout=5)


def test_an_address_that_is_taken_is_said_by_its_name() -> None:
    address = f"{LOOPBACK}:{free_port()}"
    with (
        shown(CollectorRegistry(), address),
        pytest.raises(Misconfigured, match="MIZZLE_METRICS"),
        shown(CollectorRegistry(), address),
    ):
        pass


def test_a_loop_whose_redis_is_away_still_says_how_old_its_last_turn_is() -> None:
    nowhere = RedisLog(connected(f"redis://{LOOPBACK}:{free_port()}/0"), Keyspace("l", "pumps"), hop("selector"))
    samples = exported(LoopFigures("pumps", "selector", Meters(turned=time.monotonic() - 60), nowhere))
    assert samples["mizzle_loop_age_seconds", ""] == pytest.approx(60, abs=5)
    assert samples["mizzle_info", "pumps,selector"] == 1
    assert not [name for name, _ in samples if "lag" in name]


def test_a_reason_that_nobody_explains_makes_no_new_label() -> None:
    meters = Meters()
    meters.unauthenticated.update(["forged", "pump-7", "pump-8"])
    samples = exported(GatewayFigures(meters, lambda: False))
    assert samples["mizzle_unauthenticated_total", "forged"] == 1
    assert samples["mizzle_unauthenticated_total", OTHER] == 2
    assert samples["mizzle_broker_heard", ""] == 0
    assert not [labels for _, labels in samples if "pump" in labels]


def test_refusals_by_a_score_that_contents_decide_are_counted_under_one_word(tmp_path: Path) -> None:
    pumps = federation(tmp_path)
    window = pumps.open()
    pumps.book(pumps.verdict("pump-1", window, refused="it is too long"))
    samples = exported(LedgerFigures(pumps.ledger, pumps.plan))
    assert (samples["mizzle_refused_updates", "norm"], samples["mizzle_refused_updates", CONTENT]) == (1, 0)
    assert ("mizzle_refused_updates", "history") not in samples


def test_where_nothing_is_promised_there_is_no_epsilon(tmp_path: Path) -> None:
    pumps = federation(tmp_path)
    toml = TOML.format(goal=3, late="fold", noise=2.0, budget=1e6, crowd=2, windows="", staleness=2)
    plain = from_toml(toml.replace('"gaussian"\nnoise_multiplier = 2.0', '"plain"'), MODEL)
    assert exported(LedgerFigures(pumps.ledger, pumps.plan))["mizzle_epsilon_budget", "pumps"] == 1e6
    assert not [name for name, _ in exported(LedgerFigures(pumps.ledger, plain)) if "epsilon" in name]


def test_an_epsilon_is_never_bare(tmp_path: Path) -> None:
    """Its HELP line says unit, relation, δ, accountant, sampling and trust model."""
    pumps = federation(tmp_path)
    registry = CollectorRegistry()
    registry.register(LedgerFigures(pumps.ledger, pumps.plan))
    (line,) = [line for line in generate_latest(registry).decode().splitlines() if "HELP mizzle_epsilon_spent" in line]
    assert line.endswith(f"The privacy loss of the device that lost most, {meaning(pumps.plan.privacy.delta)}")


def exported(collector: Collector) -> dict[tuple[str, str], float]:
    """What a collector shows, by name and the values of its labels."""
    registry = CollectorRegistry()
    registry.register(collector)
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }
