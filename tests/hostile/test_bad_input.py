"""Whatever an enrolled device, or a stranger, sends through the broker ends once, for a reason, and harms nobody.

The story is told in play.py and played once; docs/bad-input.md has the table.
"""

from collections.abc import Iterator

import pytest

from services.local.broker import brokers
from services.local.janitor import workplace
from services.privacy_accountant.page import MOST_STRANGE_AN_HOUR
from tests.hostile.memory import MIB
from tests.hostile.play import CALM, DEADLINE_S, HONEST, UNCOUNTED, WATCHED, Played, names, play
from tests.servers import missing

pytestmark = pytest.mark.xdist_group("hostile")

GROWTH = {"gateway": 48 * MIB, "broker": 48 * MIB}
TOLERANCE_S = 2.0


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
    print(played.calm_s, played.disturbed_s, played.barrage, played.barrage_s)
    assert len(played.calm_s) == CALM - 1
    assert len(played.disturbed_s) >= 3
    assert max(played.disturbed_s) < DEADLINE_S / 2
    assert sorted(played.disturbed_s)[len(played.disturbed_s) // 2] < max(played.calm_s) + TOLERANCE_S


@pytest.mark.parametrize("process", WATCHED)
def test_the_memory_of_every_process_stays_flat(played: Played, process: str) -> None:
    growth = played.peak[process] - played.resident[process]
    print(process, played.resident[process] // MIB, growth // MIB)
    assert growth < GROWTH.get(process, 24 * MIB)


def test_the_ledger_adds_up(played: Played) -> None:
    assert played.deliveries["first"] == played.updates
    counted = sum(times for reason, times in played.strays.items() if reason not in UNCOUNTED)
    assert played.deliveries["unauthenticated"] == counted
    assert 0 < played.audited <= MOST_STRANGE_AN_HOUR * 2


def test_no_service_fell_stumbled_or_buried_anything(played: Played) -> None:
    assert (played.fallen, played.complaints, played.dead) == ((), [], [])
