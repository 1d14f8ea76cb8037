"""What befalls a federation follows from the seed, and is enough."""

from collections import Counter

import pytest

from services.local.misfortune import LEAST_A_MINUTE, ON_WAYS, Kind, Misfortune, Moment, Places, moments, schedule

PLACES = Places(services=("selector", "releaser"), fleets=("fleet-0",), ways=("gateway", "selector-redis"))


def test_one_seed_is_one_schedule() -> None:
    assert schedule(7, 120, PLACES) == schedule(7, 120, PLACES)


def test_another_seed_is_another_schedule() -> None:
    assert schedule(7, 120, PLACES) != schedule(8, 120, PLACES)


@pytest.mark.parametrize("seed", range(50))
def test_every_minute_has_enough_of_them(seed: int) -> None:
    times = [one.at_s for one in schedule(seed, 600, PLACES)]
    a_minute = Counter(int(at_s // 60) for at_s in times)
    assert min(a_minute[minute] for minute in range(10)) >= LEAST_A_MINUTE
    assert times == sorted(times)
    assert times[-1] < 600


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_comes_before_one_comes_again(seed: int) -> None:
    kinds = [one.kind for one in schedule(seed, 120, PLACES)]
    assert set(kinds[: len(Kind)]) == set(Kind)


def test_what_befalls_a_place_befalls_one_that_there_is() -> None:
    named = {(one.kind in ON_WAYS, one.target) for one in schedule(1, 3_600, PLACES)}
    assert named == {
        (True, "gateway"),
        (True, "selector-redis"),
        *((False, name) for name in ("selector", "releaser", "fleet-0", "store", "broker")),
    }


def test_what_lasts_ends_and_the_rest_does_not() -> None:
    pause, kill = Misfortune(1.0, Kind.PAUSE_STORE, "store", 3.0), Misfortune(2.0, Kind.KILL_STORE, "store")
    assert moments((pause, kill)) == (
        Moment(1.0, pause, begins=True),
        Moment(2.0, kill, begins=True),
        Moment(4.0, pause, begins=False),
    )
