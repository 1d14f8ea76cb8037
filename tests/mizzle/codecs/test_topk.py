"""The largest changes arrive where they were, whatever a stranger writes is read strictly, and the bound holds."""

import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mizzle.codecs.topk import Topk
from mizzle.errors import Unreadable
from mizzle.grid import Grid, Vector, fits, value

SEED = bytes(32)
BOUND = 2**21


def grid(size: int = 1000) -> Grid:
    return Grid(exponent=-21, bits=8, size=size)


def gaussian(size: int = 1000, seed: int = 0, norm: float = 0.9) -> Vector:
    vector = np.random.default_rng(seed).normal(size=size)
    return vector / math.hypot(*vector) * norm


def encode(change: Vector, share: float = 0.01, bound: int = BOUND) -> bytes:
    return Topk(share).encode(change, grid(change.size), SEED, bound, os.urandom)


def by_hand(places: list[int], size: int, multiplier: int = 1) -> bytes:
    """A payload with these places, packed by hand: ten bits each for sizes up to 1,024."""
    width = (size - 1).bit_length()
    packed = sum(place << (width * index) for index, place in enumerate(places))
    codes = bytes(range(len(places)))
    return multiplier.to_bytes(4, "little") + packed.to_bytes(-(-width * len(places) // 8), "little") + codes


def test_a_payload_is_the_multiplier_then_places_then_codes() -> None:
    update = Topk(0.003).decode(by_hand([1, 513, 999], 1000, 77), grid())
    assert (update.multiplier, update.places.tolist(), update.levels.tolist()) == (
        77,
        [1, 513, 999],
        [-255, -253, -251],
    )


def test_every_payload_of_a_grid_has_the_same_size() -> None:
    sizes = {len(encode(gaussian() * scale)) for scale in (0, 1e-9, 1)}
    assert sizes == {Topk().payload_bytes(grid())} == {4 + math.ceil(10 * 10 / 8) + 10}


@pytest.mark.parametrize(
    ("places", "what"),
    [
        ([1, 1, 2], "repeated"),
        ([2, 1, 3], "not ascending"),
        ([1, 2, 1000], "out of range"),
        ([1, 2, 1023], "out of range"),
    ],
)
def test_places_that_repeat_or_go_back_or_leave_the_model_are_unreadable(places: list[int], what: str) -> None:
    del what
    with pytest.raises(Unreadable, match="ascend strictly and are below 1000"):
        Topk(0.003).decode(by_hand(places, 1000), grid())


def test_a_payload_of_another_length_is_unreadable() -> None:
    body = by_hand([1, 2, 3], 1000)
    for wrong in (b"", body[:-1], body + b"\0"):
        with pytest.raises(Unreadable, match="a topk payload is 11 bytes"):
            Topk(0.003).decode(wrong, grid())


def test_the_largest_changes_arrive_and_the_others_do_not() -> None:
    change = gaussian()
    arrived = value(grid(), Topk(0.05).decode(encode(change, 0.05), grid()), SEED)
    largest = set(np.argsort(-np.abs(change))[:50].tolist())
    assert set(np.flatnonzero(arrived).tolist()) == largest
    step = 2 * np.abs(change).max() / 255
    assert np.abs(arrived - change)[sorted(largest)].max() <= step


def test_no_change_is_the_zero_update() -> None:
    assert value(grid(), Topk().decode(encode(np.zeros(1000)), grid()), SEED).tolist() == [0.0] * 1000


@given(size=st.integers(1, 3000), norm=st.floats(1e-9, 1e9), bound=st.integers(512, 2**40), share=st.floats(1e-4, 1))
@settings(max_examples=60)
def test_fitting_never_leaves_the_norm_above_the_bound(size: int, norm: float, bound: int, share: float) -> None:
    update = Topk(share).decode(encode(gaussian(size, size, norm), share, bound), grid(size))
    assert fits(update.multiplier, update.sum_of_squares, bound)
    assert len(update.places) == math.ceil(share * size)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_a_share_that_keeps_nothing_or_too_much_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"topk.share"):
        Topk(share)
