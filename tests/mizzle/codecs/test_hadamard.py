"""A payload is small, fits its bound exactly, and tells the truth on average."""

import math
import os
from statistics import mean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mizzle.codecs.hadamard import Hadamard
from mizzle.errors import Unreadable
from mizzle.grid import MULTIPLIER_MAX, Grid, Vector, clip, fits, rotate, rotate_back
from mizzle.plugins import Draw

WIDTHS = pytest.mark.parametrize("bits", [4, 8])
SEED = bytes(32)
BOUND = 2**21
LARGE = 65_536


def grid(bits: int, size: int = 100, exponent: int = -21) -> Grid:
    return Grid(exponent=exponent, bits=bits, size=size)


def seeded(seed: int) -> Draw:
    return np.random.default_rng(seed).bytes


def gaussian(size: int, seed: int = 0, norm: float = 0.9) -> Vector:
    vector = np.random.default_rng(seed).normal(size=size)
    return vector / math.hypot(*vector) * norm


def encode(change: Vector, grid: Grid, draw: Draw = os.urandom, bound: int = BOUND) -> bytes:
    return Hadamard(grid.bits).encode(change, grid, SEED, bound, draw)


def value(payload: bytes, grid: Grid) -> Vector:
    """What a payload says of the rotated change, in floats."""
    update = Hadamard(grid.bits).decode(payload, grid)
    return update.levels.astype(np.float64) * update.multiplier * grid.unit


def error(change: Vector, grid: Grid, seed: int) -> float:
    """The squared error of one encoding, as a part of the squared norm (NMSE)."""
    missed = value(encode(change, grid, seeded(seed)), grid) - rotate(grid, change, SEED)
    return float(np.square(missed).sum() / np.square(change).sum())


# Bytes


def test_a_4_bit_payload_is_the_multiplier_and_two_codes_a_byte_low_nibble_first() -> None:
    payload = (70_000).to_bytes(4, "little") + bytes([0xF0, 0x87]) + bytes(30)
    update = Hadamard(4).decode(payload, grid(4, 64))
    assert (update.multiplier, update.levels.dtype.name) == (70_000, "int8")
    assert update.levels.tolist() == [-15, 15, -1, 1, *[-15] * 60]


def test_an_8_bit_payload_is_the_multiplier_and_a_code_a_byte() -> None:
    payload = (1).to_bytes(4, "little") + bytes([0, 255, 127, 128]) + bytes(60)
    update = Hadamard(8).decode(payload, grid(8, 64))
    assert (update.multiplier, update.levels.dtype.name) == (1, "int16")
    assert update.levels.tolist() == [-255, 255, -1, 1, *[-255] * 60]


@WIDTHS
def test_every_payload_of_a_grid_has_the_same_size(bits: int) -> None:
    shape = grid(bits, 5441)
    sizes = {len(encode(gaussian(5441) * scale, shape)) for scale in (0, 1e-9, 1)}
    assert sizes == {Hadamard(bits).payload_bytes(shape)} == {4 + 5504 * bits // 8}


@WIDTHS
def test_a_payload_of_another_length_is_unreadable(bits: int) -> None:
    wanted = 4 + 128 * bits // 8
    for length in (0, 3, 4, wanted - 1, wanted + 1, 2 * wanted):
        with pytest.raises(Unreadable, match=rf"is {wanted} bytes \(4 \+ 128 levels of {bits} bits\), got {length}:"):
            Hadamard(bits).decode(bytes(length), grid(bits))


@WIDTHS
def test_a_change_that_lies_on_levels_arrives_as_it_is(bits: int) -> None:
    """Nothing is left to round, so no draw can change it."""
    shape = grid(bits, 5440)
    levels = np.random.default_rng(0).integers(0, shape.top, shape.padded, endpoint=True) * 2 - shape.top
    levels[99] = shape.top
    change = rotate_back(shape, 5 * levels, SEED) / 64 * shape.unit
    for drawn in (b"\x00", b"\xff"):
        update = Hadamard(bits).decode(encode(change, shape, lambda count: drawn * count, 2**40), shape)  # noqa: B023
        assert (update.multiplier, update.levels.tolist()) == (5, levels.tolist())


@WIDTHS
def test_the_same_draws_give_the_same_bytes(bits: int) -> None:
    change, shape = gaussian(1000), grid(bits, 1000)
    assert encode(change, shape, seeded(1)) == encode(change, shape, seeded(1)) != encode(change, shape, seeded(2))


# What is refused


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_change_that_is_not_finite_is_refused_with_advice(bad: float) -> None:
    change = gaussian(100)
    change[[3, 7]] = bad
    with pytest.raises(ValueError, match=r"got 2 NaN or Inf among 100: .*lower learning_rate"):
        encode(clip(change, 1.0), grid(4))


def test_a_change_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has shape \(100,\), got \(101,\)"):
        encode(gaussian(101), grid(4))


def test_a_width_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="got 2"):
        Hadamard(2)


def test_a_grid_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="the codec has 8 bits, the grid 4"):
        Hadamard(8).encode(gaussian(100), grid(4), SEED, BOUND, os.urandom)


# The multiplier


@WIDTHS
def test_no_change_is_the_zero_update(bits: int) -> None:
    assert Hadamard(bits).decode(encode(np.zeros(100), grid(bits)), grid(bits)).multiplier == 0


@given(st.integers(1, 5000), st.sampled_from([4, 8]), st.floats(1e-9, 1.0), st.integers(0, 2**32))
@settings(max_examples=60)
def test_the_multiplier_is_the_smallest_that_reaches_the_largest_coordinate(
    size: int, bits: int, norm: float, seed: int
) -> None:
    shape = grid(bits, size)
    change = gaussian(size, seed, norm)
    multiplier = Hadamard(bits).decode(encode(change, shape, bound=2**40), shape).multiplier
    peak = float(np.abs(rotate(shape, change, SEED)).max())
    assert (multiplier - 1) * shape.top * shape.unit < peak <= multiplier * shape.top * shape.unit


@given(st.integers(1, 5000), st.sampled_from([4, 8]), st.floats(1e-9, 1e9), st.integers(64, 2**40))
@settings(max_examples=60)
def test_fitting_never_leaves_the_norm_above_the_bound(size: int, bits: int, norm: float, bound: int) -> None:
    """Whatever comes in, even what nobody clipped."""
    shape = grid(bits, size)
    update = Hadamard(bits).decode(encode(gaussian(size, size, norm), shape, bound=bound), shape)
    assert fits(update.multiplier, update.sum_of_squares, bound)


@WIDTHS
def test_a_change_beyond_every_multiplier_is_cut_to_the_highest_levels(bits: int) -> None:
    shape = grid(bits, 64, exponent=-256)
    update = Hadamard(bits).decode(encode(np.array([1e200] + [0.0] * 63), shape, bound=2**60), shape)
    assert update.multiplier == MULTIPLIER_MAX
    assert set(np.abs(update.levels).tolist()) == {shape.top}


# Rounding


@WIDTHS
@pytest.mark.parametrize("drawn", [b"\x00", b"\xff"])
def test_the_lowest_and_the_highest_draw_round_to_a_neighbouring_level(bits: int, drawn: bytes) -> None:
    shape = grid(bits, 5000)
    change = gaussian(5000)
    update = Hadamard(bits).decode(encode(change, shape, lambda count: drawn * count, 2**40), shape)
    missed = update.levels - rotate(shape, change, SEED) / (update.multiplier * shape.unit)
    low, high = (-2, 1e-6) if drawn == b"\x00" else (-1e-6, 2)
    assert ((low <= missed) & (missed <= high)).all()


@WIDTHS
def test_rounding_is_unbiased(bits: int) -> None:
    """The mean of 400 encodings lies as far from the truth as 400 unbiased ones should, and no further."""
    shape, change, many = grid(bits, 1000), gaussian(1000), 400
    draw = seeded(5)
    values = np.array([value(encode(change, shape, draw, 2**40), shape) for _ in range(many)])
    strayed = values.mean(axis=0) - rotate(shape, change, SEED)
    spread = values.std(axis=0, ddof=1) / math.sqrt(many)
    assert np.sqrt(np.square(strayed).mean() / np.square(spread).mean()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("bits", "reference"), [(4, 0.0557), (8, 0.00021)])
def test_the_error_of_gaussian_changes_is_near_the_reference(bits: int, reference: float) -> None:
    """REFERENCES 4 has one vector; the error goes with the square of the largest coordinate, 11 % either way."""
    errors = [error(gaussian(LARGE, seed), grid(bits, LARGE), seed) for seed in range(12)]
    assert mean(errors) == pytest.approx(reference, rel=0.1)


@WIDTHS
def test_the_error_of_any_change_is_a_sixth_of_the_squared_step(bits: int) -> None:
    shape = grid(bits, LARGE)
    heavy = np.random.default_rng(3).standard_t(1.5, LARGE)
    for change in (gaussian(LARGE), heavy / math.hypot(*heavy) * 0.9):
        multiplier = Hadamard(bits).decode(encode(change, shape), shape).multiplier
        wanted = (2 * multiplier * shape.unit) ** 2 / 6 * LARGE / 0.9**2
        assert error(change, shape, 1) == pytest.approx(wanted, rel=0.02)


def test_a_heavy_tail_costs_hardly_more_than_a_gaussian_one() -> None:
    """One coordinate of 92 standard deviations; one scale without the rotation would leave 36.7."""
    change = gaussian(LARGE)
    change[12_345] = 92 * 0.9 / math.sqrt(LARGE)
    assert error(change / math.hypot(*change), grid(4, LARGE), 1) == pytest.approx(0.0557, rel=0.25)
