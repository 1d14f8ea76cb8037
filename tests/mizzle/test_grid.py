"""The grid is exact: sums do not know their order, rotations come back, and nothing wraps."""

import hashlib
import math
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mizzle.grid import (
    MULTIPLIER_MAX,
    Grid,
    Integers,
    Levels,
    add,
    clip,
    fit,
    fits,
    has_room,
    norm_excess,
    places,
    rotate,
    rotate_back,
    signs,
)

SIZES = st.integers(1, 9000)
SEEDS = st.binary(min_size=32, max_size=32)
SQUARES = st.integers(64, 255**2 * 2**31)
BOUNDS = st.integers(2**21, 2**40)
MULTIPLIERS = st.integers(0, MULTIPLIER_MAX)


def grid(size: int, bits: int = 4) -> Grid:
    return Grid(exponent=-21, bits=bits, size=size)


def some_levels(grid: Grid, seed: int) -> Levels:
    rng = np.random.default_rng(seed)
    odd = rng.integers(0, grid.top, grid.padded, endpoint=True) * 2 - grid.top
    return Levels(int(rng.integers(0, 2**32)), odd.astype(np.int16))


def summed(grid: Grid, updates: list[tuple[Levels, int]]) -> Integers:
    total = np.zeros(grid.padded, np.int64)
    for update, weight in updates:
        add(total, update, weight)
    return total


def hadamard_matrix(side: int) -> NDArray[np.float64]:
    """Sylvester's construction, which shares nothing with the fast transform."""
    matrix = np.ones((1, 1))
    while len(matrix) < side:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


# Shape and name


@pytest.mark.parametrize(
    ("size", "blocks"),
    [
        (1, (64,)),
        (64, (64,)),
        (65, (64, 64)),
        (2823, (1024, 1024, 256, 256, 256, 64)),
        (5441, (4096, 1024, 256, 64, 64)),
        (8192, (4096, 4096)),
    ],
)
def test_blocks_are_the_largest_powers_of_four_that_fit(size: int, blocks: tuple[int, ...]) -> None:
    assert grid(size).blocks == blocks


@given(st.integers(1, 2**31))
def test_padding_stays_under_64(size: int) -> None:
    assert size <= grid(size).padded < size + 64


def test_an_id_is_the_hash_of_the_documented_bytes() -> None:
    form = (
        b"mizzle/grid/1"
        + (-21).to_bytes(4, "little", signed=True)
        + b"\x04"
        + (5441).to_bytes(8, "little")
        + b"".join(count.to_bytes(4, "little") for count in (1, 1, 1, 2))
    )
    assert grid(5441).id == hashlib.sha256(form).hexdigest()


def test_grids_that_differ_in_anything_have_different_ids() -> None:
    grids = [Grid(-21, 4, 100), Grid(-20, 4, 100), Grid(-21, 8, 100), Grid(-21, 4, 101)]
    assert len({grid.id for grid in grids}) == len(grids)


@pytest.mark.parametrize("bits", [0, 3, 5, 16])
def test_a_width_that_does_not_exist_is_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=rf"Grid.bits is one of \(8, 4, 2, 1\), got {bits}"):
        Grid(-21, bits, 100)


def test_a_grid_off_its_bounds_is_not_decoded() -> None:
    for wrong in ({"exponent": 257}, {"bits": 3}, {"size": 0}, {"size": 2**31 + 1}, {"unit": 1}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"exponent": -21, "bits": 4, "size": 9, **wrong}, Grid)


# Clip


@given(st.lists(st.floats(-1e300, 1e300, allow_subnormal=False), min_size=1, max_size=99), st.floats(1e-6, 1e6))
def test_a_clipped_vector_has_at_most_the_norm_and_points_the_same_way(numbers: list[float], norm: float) -> None:
    vector, length = np.array(numbers), math.hypot(*numbers)
    clipped = clip(vector, norm)
    if length <= norm * (1 - 1e-12):
        assert np.array_equal(clipped, vector)
    else:
        np.testing.assert_allclose(clipped / norm, vector / length, rtol=1e-12, atol=1e-300)


def test_a_vector_within_the_norm_is_left_as_it_is() -> None:
    short = np.array([0.3, -0.4])
    assert clip(short, 0.5) is short


# Rotation


def test_a_sign_is_a_bit_of_the_stream_low_bits_first() -> None:
    stream = hashlib.shake_256(b"mizzle/rotation/1" + b"seed").digest(16)
    assert signs(b"seed", 128).tolist() == [1 - 2 * (stream[i // 8] >> i % 8 & 1) for i in range(128)]


def test_one_block_is_filled_in_order() -> None:
    assert places(grid(60)).tolist() == list(range(60))


def test_parameters_step_through_all_blocks_by_the_golden_section() -> None:
    """3,401 is the first from ⌊.618 · 5504⌋ = 3,401 on that shares no divisor with 5504 = 2^7 · 43."""
    assert places(grid(5500))[:4].tolist() == [0, 3401, 2 * 3401 - 5504, 3 * 3401 - 5504]


@given(st.integers(1, 100_000))
@settings(max_examples=50)
def test_no_two_parameters_share_a_place(size: int) -> None:
    found = places(grid(size))
    assert (len(np.unique(found)), found.min(), found.max() < grid(size).padded) == (size, 0, True)


@pytest.mark.parametrize("size", [13_258, 100_000, 999_983])
def test_every_block_has_its_share_of_every_layer(size: int) -> None:
    """A layer of 500 parameters, wherever it lies, is in each block by its size, but for 8 at the most."""
    shape = grid(size)
    edges = np.cumsum((0, *shape.blocks))
    for start in np.linspace(0, size - 500, 40, dtype=int):
        there, _ = np.histogram(places(shape)[start : start + 500], edges)
        assert np.abs(there - 500 * np.array(shape.blocks) / shape.padded).max() < 8


def test_a_rotation_is_the_signs_then_the_hadamard_matrix_of_each_block() -> None:
    shape = grid(5441)
    vector = np.random.default_rng(1).normal(size=shape.size)
    spread = np.zeros(shape.padded)
    spread[places(shape)] = vector
    flipped = spread * signs(b"seed", shape.padded)
    starts = np.cumsum((0, *shape.blocks))
    wanted = np.concatenate(
        [
            hadamard_matrix(side) @ flipped[start : start + side] / math.sqrt(side)
            for start, side in zip(starts, shape.blocks, strict=False)
        ]
    )
    np.testing.assert_allclose(rotate(shape, vector, b"seed"), wanted, atol=1e-12)


@given(SIZES, SEEDS)
@settings(max_examples=30)
def test_a_rotation_keeps_the_norm(size: int, seed: bytes) -> None:
    vector = np.random.default_rng(size).normal(size=size)
    assert math.hypot(*rotate(grid(size), vector, seed)) == pytest.approx(math.hypot(*vector), rel=1e-12)


@given(SIZES, SEEDS)
@settings(max_examples=30)
def test_what_was_rotated_comes_back_64_fold_to_the_last_integer(size: int, seed: bytes) -> None:
    """Multiples of 64 rotate to integers, so that both ways can be compared exactly."""
    vector = np.random.default_rng(size).integers(-(2**20), 2**20, size) * 64
    turned = rotate(grid(size), vector.astype(np.float64), seed)
    assert np.array_equal(turned, np.rint(turned))
    assert np.array_equal(rotate_back(grid(size), turned.astype(np.int64), seed), 64 * vector)


def test_a_rotation_back_leaves_the_total_as_it_was() -> None:
    total = np.arange(128, dtype=np.int64)
    rotate_back(grid(100), total, b"seed")
    assert np.array_equal(total, np.arange(128))


# Sums


@given(st.integers(1, 5000), st.sampled_from([4, 8]), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_any_order_split_or_mix_of_windows_gives_the_same_integers(size: int, bits: int, chance: random.Random) -> None:
    """Updates of three windows with their own seeds: added by window, or one at a time from any of them."""
    shape = grid(size, bits)
    seeds = [chance.randbytes(32) for _ in range(3)]
    updates = [(chance.randrange(3), some_levels(shape, i), chance.randint(0, 64)) for i in range(8)]
    by_window = sum(
        rotate_back(shape, summed(shape, [(u, w) for of, u, w in updates if of == window]), seed)
        for window, seed in enumerate(seeds)
    )
    chance.shuffle(updates)
    cut = chance.randint(0, len(updates))
    mixed = np.zeros(size, np.int64)
    for part in (updates[cut:], updates[:cut]):
        for window, update, weight in part:
            mixed += rotate_back(shape, summed(shape, [(update, weight)]), seeds[window])
    assert np.array_equal(by_window, mixed)


def test_a_sum_is_exact_where_floats_would_round() -> None:
    update = Levels(MULTIPLIER_MAX, np.array([255, -255, 1, -1], np.int16))
    total = np.array([1, 0, 0, 0], np.int64)
    add(total, update, 64)
    add(total, update, 63)
    step = 127 * MULTIPLIER_MAX
    assert total.tolist() == [255 * step + 1, -255 * step, step, -step]


def test_the_sum_of_squares_is_exact_at_the_top_levels() -> None:
    assert Levels(1, np.full(200_001, -255, np.int16)).sum_of_squares == 200_001 * 255**2
    assert Levels(1, np.full(200_001, 15, np.int8)).sum_of_squares == 200_001 * 15**2
    assert Levels(1, np.full(20_000_000, -15, np.int8)).sum_of_squares == 20_000_000 * 15**2  # more than 32 bits hold


# Fit rule


@given(MULTIPLIERS, SQUARES, BOUNDS)
def test_the_fit_rule_lowers_a_multiplier_no_further_than_it_must(multiplier: int, squares: int, bound: int) -> None:
    fitting = fit(multiplier, squares, bound)
    assert fits(fitting, squares, bound)
    assert fitting == multiplier or not fits(fitting + 1, squares, bound)


@given(MULTIPLIERS, SQUARES, BOUNDS)
def test_what_a_device_fitted_a_server_leaves_alone(multiplier: int, squares: int, bound: int) -> None:
    fitting = fit(multiplier, squares, bound)
    assert fit(fitting, squares, bound) == fitting


def test_an_update_that_fits_at_no_multiplier_becomes_the_zero_update() -> None:
    assert fit(7, 65, 8) == 0
    assert fit(7, 64, 8) == 1


def test_the_fit_rule_sees_one_unit_in_2_to_the_70() -> None:
    """Solutions of S² − 65·m² = −1 (Pell's equation) miss the bound by the least that integers can."""
    bound, multiplier = 8, 1
    while bound < 2**32:
        bound, multiplier = 129 * bound + 65 * 16 * multiplier, 16 * bound + 129 * multiplier
        assert bound**2 - 65 * multiplier**2 == -1
        assert fit(multiplier, 65, bound) == multiplier - 1


def test_fitting_is_decided_by_the_last_unit_at_the_largest_bound() -> None:
    """The squares differ by one part in 2^80, which no float can tell."""
    assert fits(2**32 - 1, 1, 2**32 - 1)
    assert not fits(2**38 + 1, 4, 2**39)
    assert not fits(1, 2**80 + 1, 2**40)
    assert fits(1, 2**80, 2**40)


def test_a_norm_excess_of_one_is_the_bound() -> None:
    assert norm_excess(10, 64, 80) == 1.0
    assert norm_excess(200, 64, 80) == 20.0


# Room


@pytest.mark.parametrize(
    ("members", "sigma", "room"),
    [
        (2**10 - 1, 0, True),
        (2**10 - 1, (2**46 - 1) // 12, True),
        (2**10 - 1, 2**46 // 12 + 1, False),
        (2**10, 0, False),
    ],
)
def test_a_window_has_room_up_to_the_last_unit_below_2_to_the_62(members: int, sigma: int, room: bool) -> None:  # noqa: FBT001
    assert has_room(members, 64, 2**40, sigma) is room


@pytest.mark.parametrize("size", [64, 256, 1024, 4096])
def test_the_fullest_window_with_room_does_not_wrap(size: int) -> None:
    """Every member sends the one vector that the rotation back gathers in a single coordinate."""
    members, weight, bound = 2**10 - 1, 64, 2**40
    assert has_room(members, weight, bound, 0)
    level = members * weight * bound // math.isqrt(size)
    back = rotate_back(grid(size), np.full(size, level, np.int64), b"seed")
    assert abs(int(back[0])) == 64 * math.isqrt(size) * level > 2**61
    assert not back[1:].any()
