"""A device says as much as it may and no more, and that costs nobody else anything."""

import pytest

from mizzle import topics
from mizzle.messages import Unauthenticated
from mizzle.topics import Up
from services.gateway.allowance import Allowances
from services.gateway.receive import NOBODY, Arrivals, Came, receive


def spent(allowances: Allowances, times: int, now: int, device: str = "pump-7") -> list[str]:
    return [allowances.spend(device, now) for _ in range(times)]


def test_so_many_pass_at_once_and_from_then_on_so_many_a_second() -> None:
    allowances = Allowances(at_once=3, a_second=2)
    assert spent(allowances, 4, 10_000) == ["fair", "fair", "fair", "too much"]
    assert spent(allowances, 2, 10_500) == ["fair", "and more"]
    assert spent(allowances, 3, 11_500) == ["fair", "fair", "too much"]


def test_who_was_silent_may_say_no_more_than_a_newcomer() -> None:
    allowances = Allowances(at_once=3, a_second=2)
    spent(allowances, 1, 0)
    assert spent(allowances, 4, 10**9).count("fair") == 3


def test_it_is_said_once_a_second_that_it_is_too_much() -> None:
    allowances = Allowances(at_once=1, a_second=1)
    found = [allowances.spend("pump-7", 5000 + ms) for ms in range(0, 3000, 10)]
    assert (found.count("fair"), found.count("too much")) == (3, 3)


def test_one_device_takes_nothing_from_another() -> None:
    allowances = Allowances(at_once=1, a_second=1)
    spent(allowances, 100, 5000, "flood")
    assert allowances.spend("pump-7", 5000) == "fair"


def test_a_clock_that_is_set_back_gives_nothing_and_takes_nothing() -> None:
    allowances = Allowances(at_once=2, a_second=1)
    assert spent(allowances, 1, 10**12) == ["fair"]
    assert spent(allowances, 2, 0) == ["fair", "and more"]
    assert spent(allowances, 1, 10**12 + 1000) == ["fair"]


def test_after_a_clock_was_set_back_a_device_is_given_as_much_a_second_as_before() -> None:
    allowances = Allowances(at_once=2, a_second=1)
    assert spent(allowances, 3, 10**12) == ["fair", "fair", "too much"]
    assert spent(allowances, 1, 0) == ["too much"]
    assert spent(allowances, 2, 1000) == ["fair", "too much"]


def test_only_so_many_devices_are_known_and_the_one_silent_for_longest_is_forgotten() -> None:
    allowances = Allowances(at_once=1, a_second=1, most_known=2)
    spent(allowances, 2, 5000, "one")
    spent(allowances, 2, 5000, "two")
    spent(allowances, 1, 5000, "three")
    assert [allowances.spend(device, 5000) for device in ("two", "one")] == ["and more", "fair"]


@pytest.mark.parametrize("kind", list(Up))
def test_what_is_too_much_is_not_even_looked_at(kind: Up) -> None:
    arrivals = Arrivals("barn", 100, allowances=Allowances(at_once=1, a_second=1))
    came = Came(topics.up("barn", "pump-7", kind), b"garbage", None, 5000)
    first, second, third = (receive(arrivals, came) for _ in range(3))
    assert first.reason != "flood"
    assert second.said == (Unauthenticated(device="pump-7", reason="flood"),)
    assert (second.is_stray, second.counted) == (True, False)
    assert (third.said, third.is_stray, third.counted, third.reason) == ((), False, True, "flood")


def test_what_names_no_device_is_nobodys_flood() -> None:
    arrivals = Arrivals("barn", 100, allowances=Allowances(at_once=0, a_second=0))
    taken = receive(arrivals, Came("mz/1/barn/up/x", b"", None, 5000))
    assert taken.said == (Unauthenticated(device=NOBODY, reason="topic"),)
