"""Whatever an enrolled device, or a stranger, sends through the broker ends once, for a reason, and harms nobody.

The story is told in play.py and played once; docs/bad-input.md has the table.
"""

import queue
from collections.abc import Iterator
from statistics import median

import pytest

from mizzle import topics
from mizzle.topics import Up
from services.gateway.intake import RECEIVE_BYTES
from services.local.broker import Broker, brokers
from services.local.janitor import workplace
from services.privacy_accountant.page import MOST_STRANGE_AN_HOUR
from tests.hostile.memory import MIB
from tests.hostile.play import BARRAGE, CALM, DEADLINE_S, HONEST, UNCOUNTED, WATCHED, Played, names, play
from tests.mqtt import Peer
from tests.servers import missing

pytestmark = pytest.mark.xdist_group("hostile")

GROWTH = {"gateway": RECEIVE_BYTES + 8 * MIB, "broker": 48 * MIB}
TOLERANCE_S = 1.0


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    if "mosquitto" not in brokers():
        missing("mosquitto")
    with workplace() as folder:
        yield play(folder)


@pytest.mark.parametrize("name", names())
def test_it_ends_once_and_for_the_reason_that_is_its_own(played: Played, name: str) -> None:
    assert played.endings[name] == [played.expected[name]]


def test_nothing_was_tried_that_is_not_named_here(played: Played) -> None:
    assert sorted(played.endings) == sorted(names())


def test_every_update_has_one_receipt_whose_bytes_never_change_and_which_says_why(played: Played) -> None:
    assert played.receipts_that_changed == 0
    assert played.receipts_without_why == set()


def test_the_honest_devices_are_counted_in_every_window(played: Played) -> None:
    wanted = {(f"honest-{place}", window) for place in range(HONEST) for window in range(1, played.windows + 1)}
    assert played.honest >= wanted


def test_an_honest_window_closes_no_later_beside_a_barrage(played: Played) -> None:
    assert (len(played.calm_s), len(played.disturbed_s)) == (CALM - 1, played.windows - CALM - 1)
    assert played.barrage >= 2 * BARRAGE
    assert played.beside >= 100
    assert max(played.disturbed_s) < DEADLINE_S / 2
    assert median(played.disturbed_s) < max(played.calm_s) + TOLERANCE_S


@pytest.mark.parametrize("process", WATCHED)
def test_the_memory_of_every_process_stays_flat(played: Played, process: str) -> None:
    """At its very peak: the gateway may hold what it has not acknowledged, the broker what nobody has taken yet."""
    growth = played.peak[process] - played.resident[process]
    assert growth < GROWTH.get(process, 16 * MIB)


def test_the_ledger_adds_up(played: Played) -> None:
    assert played.deliveries["first"] == played.updates
    counted = sum(times for reason, times in played.strays.items() if reason not in UNCOUNTED)
    assert played.deliveries["unauthenticated"] == counted
    assert 0 < played.audited <= MOST_STRANGE_AN_HOUR * 2


def test_what_is_longer_than_a_packet_may_be_is_cut_off_by_the_broker(mosquitto: Broker, federation: str) -> None:
    ends: queue.Queue[str] = queue.Queue()
    with Peer(mosquitto.port, "gateway") as gateway, Peer(mosquitto.port, "mallet") as mallet:
        gateway.subscribe(topics.every_up(federation))
        mallet._client.on_disconnect = lambda _client, _user, _flags, reason, _properties: ends.put(str(reason))
        mallet._client.publish(topics.up(federation, "mallet", Up.UPDATE), b"\x90" * 8 * MIB, qos=1)
        assert ends.get(timeout=30) != "Normal disconnection"
        assert gateway.heard() == []


def test_what_is_said_to_another_federation_is_heard_by_nobody(mosquitto: Broker, federation: str) -> None:
    with Peer(mosquitto.port, "gateway") as gateway, Peer(mosquitto.port, "mallet") as mallet:
        gateway.subscribe(topics.every_up(federation))
        assert mallet.publish(topics.up(f"{federation}-2", "mallet", Up.UPDATE)) == "No matching subscribers"
        assert gateway.heard() == []


def test_no_service_fell_stumbled_or_buried_anything(played: Played) -> None:
    assert (played.fallen, played.complaints, played.dead) == ((), [], [])
