"""All that a service tells Prometheus: the closed list of figures, what a loop counts, and the page they stand on.

A figure that depends on what devices hold is a release (DESIGN 13). So nothing is shown but what stands in `CATALOGUE`,
and why each may be shown stands in `docs/watching.md`; a test compares the two with what services really export. No
label names a device, and every label has few values.

The loop only counts, in `Meters`. Whoever asks for the page pays for the rest, in a thread of the asker's own.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

import structlog
from prometheus_client import start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from mizzle.errors import Away, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

    from services.runtime.redis_log import Entry, RedisLog

T = TypeVar("T")
Labels = TypeVar("Labels", bound="tuple[str, ...]")

_log = structlog.get_logger()


@dataclass(frozen=True)
class Figure:
    """One figure that may be shown; `labels` are all that it has."""

    name: str
    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    means: str

    def family(self, values: Mapping[Labels, float], also: str = "") -> Metric:
        """The figure with these values, by their labels' values; `also` is added to what it means."""
        made = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        family = made(self.name, f"{self.means}{also}", labels=self.labels)
        for labels, value in values.items():
            family.add_metric(labels, value)
        return family


CATALOGUE: Final = {
    figure.name: figure
    for figure in (
        # every service
        Figure("mizzle_info", "gauge", ("federation", "service"), "Which service this is; always 1."),
        Figure("mizzle_loop_age_seconds", "gauge", (), "Since the service's loop last turned."),
        Figure("mizzle_loop_beginnings_total", "counter", (), "How often the loop began from what is stored."),
        Figure("mizzle_entries_total", "counter", ("stream",), "Entries that the loop has taken from a stream."),
        Figure("mizzle_dead_letters_total", "counter", ("stream",), "Entries that the service gave up and buried."),
        Figure("mizzle_lag_entries", "gauge", ("stream",), "Entries of a stream that the service has not read."),
        Figure("mizzle_lag_seconds", "gauge", ("stream",), "How long the oldest of them has been waiting."),
        # the gateway
        Figure("mizzle_broker_heard", "gauge", (), "Whether the gateway's heartbeat comes back through the broker."),
        Figure("mizzle_unauthenticated_total", "counter", ("reason",), "Messages that no enrolled key vouches for."),
        # the accountant: what the ledger holds
        Figure("mizzle_ledger_age_seconds", "gauge", (), "How old the figures of the ledger below are."),
        Figure("mizzle_updates", "gauge", ("outcome",), "Admitted updates, by how they ended; open ones have not."),
        Figure("mizzle_refused_updates", "gauge", ("reason",), "Refused updates, by the word in their receipts."),
        Figure("mizzle_deliveries_total", "counter", ("kind",), "Deliveries: first, duplicate or unauthenticated."),
        Figure("mizzle_conservation_difference", "gauge", (), "Updates that are not accounted for: 0, or a fault."),
        Figure("mizzle_windows", "gauge", ("state",), "Windows, by state: open, released or abandoned."),
        Figure("mizzle_window_number", "gauge", (), "The newest window."),
        Figure("mizzle_release_version", "gauge", (), "The newest release; 0 before the first."),
        Figure("mizzle_epsilon_spent", "gauge", ("federation",), "The privacy loss of the device that lost most,"),
        Figure("mizzle_epsilon_budget", "gauge", ("federation",), "Where mizzle_epsilon_spent stops the federation,"),
        # the accountant: how the others are, since one that is stopped cannot say it
        Figure(
            "mizzle_peer_pulse_age_seconds", "gauge", ("service",), "Since a service last said that its loop turns."
        ),
        Figure("mizzle_peer_lag_entries", "gauge", ("service", "stream"), "Entries that a service has not read."),
        Figure("mizzle_dead_letters_kept", "gauge", (), "Dead letters that lie there to be looked at."),
    )
}
"""Every figure there is, by name. Whoever adds one says in docs/watching.md why everybody may see it."""


@dataclass
class Meters:
    """What one service counts while it works; written by its own threads, read by whoever asks."""

    turned: float = field(default_factory=time.monotonic)
    beginnings: int = 0
    entries: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    unauthenticated: Counter[str] = field(default_factory=Counter)

    def begun(self) -> None:
        """The loop has begun from what is stored."""
        self.beginnings += 1

    def took(self, entries: Sequence[Entry]) -> None:
        """The loop has turned, and has taken these."""
        self.turned = time.monotonic()
        self.entries.update([entry.stream for entry in entries])

    def buried(self, entry: Entry) -> None:
        """The loop has given this one up."""
        self.dead[entry.stream] += 1


@dataclass(frozen=True, eq=False)  # a registry knows its collectors by identity
class LoopFigures(Collector):
    """What every service shows of itself: its meters, and how far it is behind each stream that it reads."""

    federation: str
    service: str
    meters: Meters
    log: RedisLog

    def collect(self) -> Iterable[Metric]:
        """The figures as they are now; without those of Redis where it does not answer."""
        meters, streams = self.meters, self.log.reads
        yield CATALOGUE["mizzle_info"].family({(self.federation, self.service): 1})
        yield CATALOGUE["mizzle_loop_age_seconds"].family({(): time.monotonic() - meters.turned})
        yield CATALOGUE["mizzle_loop_beginnings_total"].family({(): meters.beginnings})
        yield CATALOGUE["mizzle_entries_total"].family({(name,): meters.entries[name] for name in streams})
        yield CATALOGUE["mizzle_dead_letters_total"].family({(name,): meters.dead[name] for name in streams})
        try:
            lags = self.log.lags()
        except Away:
            return
        now = time.time_ns() // 1_000_000
        waits = {(name,): max(0, now - lag.since) / 1000 if lag.since else 0.0 for name, lag in lags.items()}
        yield CATALOGUE["mizzle_lag_entries"].family({(name,): lag.entries for name, lag in lags.items()})
        yield CATALOGUE["mizzle_lag_seconds"].family(waits)


class Kept(Generic[T]):
    """Something that costs: made when it is asked for, and kept 2 s, or 50 times as long as it took to make.

    So it takes at most a fiftieth of a core, however large the ledger grows. Where the store it is made from is away,
    what was made last is given, and its age says so.
    """

    LEAST_S: Final = 2.0
    TIMES: Final = 50.0

    def __init__(self, make: Callable[[], T], clock: Callable[[], float] = time.monotonic) -> None:
        self._make, self._clock = make, clock
        self._lock = threading.Lock()
        self._made: T | None = None
        self._at = self._until = 0.0

    def get(self) -> tuple[T | None, float]:
        """The thing, None if it could not be made yet, and its age in seconds."""
        with self._lock:
            now = self._clock()
            if now >= self._until:
                self._renew(now)
            return self._made, self._clock() - self._at

    def _renew(self, began: float) -> None:
        try:
            self._made, self._at = self._make(), began
        except Away as away:
            _log.warning("a figure is not renewed", why=str(away))
        self._until = self._clock() + max(self.LEAST_S, self.TIMES * (self._clock() - began))


@contextmanager
def shown(registry: CollectorRegistry, address: str) -> Iterator[None]:
    """Serve the registry's figures at http://HOST:PORT/metrics while the context lasts; nowhere if `address` is empty.

    Raises:
        Misconfigured: the address is none, or taken.
    """
    if not address:
        yield
        return
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry)
    except (OSError, OverflowError) as error:
        text = f"MIZZLE_METRICS is HOST:PORT, an address of this machine that is free; {address!r} is not: {error}"
        raise Misconfigured(f"{text}. Set it to another, or to nothing.") from error
    server.set_app(_nothing_else(server.get_app()))
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _nothing_else(page: Any) -> Any:  # noqa: ANN401  # WSGI's own types
    """The page at /metrics, and none at any other path."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  # as above
        if environ.get("PATH_INFO") == "/metrics":
            found: Iterable[bytes] = page(environ, start_response)
            return found
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"there is /metrics, and nothing else\n"]

    return app
