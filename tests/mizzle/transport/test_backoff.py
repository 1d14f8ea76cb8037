"""When a lost line is tried again, and how a whole fleet comes back that lost its lines in one moment."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from mizzle.transport.backoff import Attempt, Backoff, span_s

HELD = Attempt(began=0.0, ended=100.0, was_reached=True, was_let_in=True)


def failed(at: float) -> Attempt:
    return Attempt(began=at, ended=at)


def after(away_s: float, chance: float = 0.5) -> float:
    """The pause of one who has its place, after a try that was due when the line had been away for so long."""
    return Backoff(lost=0.0, due=away_s, has_place=True).after(failed(away_s), chance).due - away_s


def tries(chance: random.Random, stalls_s: float) -> Iterator[float]:
    """When a line is tried that is lost at 0 and never comes back, on a machine that stands still now and then.

    It stands still for so long at the end of every seven seconds: what is due then happens when it goes on.
    """
    backoff = Backoff(lost=-100.0).after(Attempt(-100.0, 0.0, was_reached=True, was_let_in=True), chance.random())
    while True:
        rest = 7.0 - backoff.due % 7.0
        at = backoff.due + rest if rest < stalls_s else backoff.due
        yield at
        backoff = backoff.after(failed(at), chance.random())


def comeback(away_s: float, devices: int, stalls_s: float = 0.0) -> list[float]:
    """When so many are back whose way opens `away_s` after all of them have lost their lines, in seconds from then."""
    chance = random.Random(0)
    return sorted(next(at for at in tries(chance, stalls_s) if at >= away_s) - away_s for _ in range(devices))


@pytest.mark.parametrize("chance", [0.0, 0.3, 0.999])
def test_a_line_that_was_lost_for_a_moment_is_tried_within_a_second(chance: float) -> None:
    assert Backoff(lost=0.0).after(HELD, chance) == Backoff(lost=100.0, due=100.0 + chance, has_place=True)


def test_a_pause_is_a_second_then_a_quarter_of_the_time_away_and_never_longer_than_the_longest() -> None:
    assert [after(away_s) for away_s in (0.5, 4.0, 8.0, 60.0, 120.0, 1e6)] == [1.0, 1.0, 2.0, 15.0, 30.0, 30.0]
    assert Backoff(lost=0.0, longest_s=2.0, due=60.0, has_place=True).after(failed(60.0), 0.5).due == 62.0


@pytest.mark.parametrize("chance", [0.0, 0.3, 0.999])
def test_whoever_has_its_place_keeps_it_as_long_as_nobody_is_reached(chance: float) -> None:
    assert after(60.0, chance) == span_s(60.0)


def test_a_try_that_took_long_or_came_late_does_not_cost_the_place() -> None:
    """Those whom the same thing delayed would stay together from then on."""
    backoff = Backoff(lost=0.0, due=200.0, has_place=True)
    ends = (200.0, 205.0, 229.9, 230.0, 235.0)
    assert [backoff.after(Attempt(200.0, end), 0.5).due for end in ends] == [230.0, 230.0, 230.0, 260.0, 260.0]


def test_whoever_finds_nobody_at_its_first_try_draws_its_place() -> None:
    assert Backoff(lost=0.0).after(failed(60.0), 0.25).due == 60.0 + 0.25 * span_s(60.0)


def test_whoever_has_reached_somebody_draws_a_new_place_and_has_been_away_all_the_same() -> None:
    """A proxy that takes connections for a broker that is down ends all of them at once."""
    before = Backoff(lost=0.0, due=59.0, has_place=True)
    after_it = before.after(Attempt(59.0, 60.0, was_reached=True), 0.25)
    assert after_it == Backoff(lost=0.0, due=60.0 + 0.25 * span_s(60.0), has_place=True)


def test_whoever_is_thrown_out_again_at_once_was_away_all_the_time() -> None:
    before = Backoff(lost=0.0, due=60.0, has_place=True)
    short, long = (Attempt(60.0, 60.0 + held, was_reached=True, was_let_in=True) for held in (14.0, 16.0))
    assert (before.after(short, 1.0).lost, before.after(long, 1.0).lost) == (0.0, 76.0)


@pytest.mark.parametrize("away_s", [7.0, 11.0, 60.0, 100.0, 600.0])
def test_a_fleet_that_lost_its_lines_together_comes_back_evenly_within_a_span(away_s: float) -> None:
    back = comeback(away_s, 1000)
    most, mean = max(Counter(map(int, back)).values()), len(back) / span_s(away_s)
    assert most <= 1.6 * mean
    assert 0.9 * span_s(away_s) <= back[-1] <= 1.25 * span_s(away_s)


def test_a_fleet_whose_machine_stands_still_now_and_then_is_not_gathered_by_that() -> None:
    """A stall brings together whoever is due in it, here 1.5 seconds' worth, and not whoever ever was due in one.

    The soak of ten minutes found it: on a busy machine 40 of 500 came back in one second, where the mean was 16.7.
    """
    back = comeback(600.0, 1000, stalls_s=1.5)
    assert max(Counter(map(int, back)).values()) <= 3.0 * len(back) / span_s(600.0)
