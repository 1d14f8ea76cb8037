"""A sum is exact however large what is added to it, and whenever what is near by joins the rest."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mizzle.grid import MULTIPLIER_MAX, Grid, Levels, add, rotate_back
from services.aggregator.gathering import MOST_NEAR, Gathering, opened, put_in, settle, take_out, total
from tests.makers import charge, digest, window

GRID = Grid(exponent=-21, bits=8, size=64)
MULTIPLIERS = st.one_of(st.sampled_from([0, 1, 1000, 2**17, 2**18, MULTIPLIER_MAX]), st.integers(0, MULTIPLIER_MAX))
UPDATES = st.lists(st.tuples(MULTIPLIERS, st.sampled_from([1, 45, 64]), st.integers(0, 2**32 - 1)), max_size=12)


def levels(multiplier: int, seed: int) -> Levels:
    """Levels of which every fourth is the highest, so that what is added to the same place adds up."""
    drawn = 2 * np.random.default_rng(seed).integers(0, 256, GRID.padded).astype(np.int16) - 255
    drawn[::4] = GRID.top
    return Levels(multiplier, drawn)


def empty() -> Gathering:
    return opened(window(), b"", {}, is_buffered=False)


@given(UPDATES, st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)))
def test_the_sum_is_that_of_its_members(updates: list[tuple[int, int, int]], ticks: set[int], gone: set[int]) -> None:
    gathering, wanted = empty(), np.zeros(GRID.padded, np.int64)
    coded = [levels(multiplier, seed) for multiplier, _, seed in updates]
    for index, (update, (_, weight, _)) in enumerate(zip(coded, updates, strict=True)):
        put_in(gathering, charge(f"pump-{index}", weight=weight), update, GRID)
        assert gathering.reach <= MOST_NEAR
        if index in ticks:
            settle(gathering)
        if index not in gone:
            add(wanted, update, weight)
    for index in gone.intersection(range(len(updates))):
        take_out(gathering, digest(f"pump-{index}"), coded[index], GRID)
    assert (total(gathering, GRID) == rotate_back(GRID, wanted, gathering.window.seed)).all()


def test_small_updates_wait_near_by_and_one_that_is_too_large_does_not() -> None:
    gathering = empty()
    put_in(gathering, charge("pump-0"), levels(1000, 0), GRID)
    assert (gathering.rotated, gathering.reach) == (None, 64 * 1000 * 255)
    put_in(gathering, charge("pump-1"), levels(MULTIPLIER_MAX, 1), GRID)
    assert (gathering.near, gathering.reach) == (None, 0)
