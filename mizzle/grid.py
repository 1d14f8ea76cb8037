"""The grid: the integers in which every update, sum and noise of a federation is written.

A change Δ of d floats is clipped, rotated by a randomized Hadamard transform in blocks, and rounded to levels q, the
odd integers −(2^b − 1) … 2^b − 1. With one integer multiplier m it becomes u = m·q, worth m·q·g in floats, where
g = 2^e is the grid's unit. From there on all is exact: sums weigh and add integers, and so does the rotation back.
Before the blocks are turned the parameters are spread over them, so that each block has its share of every layer and
all are about equally long: one multiplier suits them all (ADR 8). A sparse update has such levels at a few places,
without rotation, and nothing at the others; it adds to the sum that was rotated back.

What stays below 2^63, and why. One update is bounded by m·‖q‖₂ ≤ S ≤ 2^40 (`fit`), so a window's weighted sum has
‖Σ w·m·q‖₂ ≤ n·W·S. Each of the log2 B butterflies of the rotation back raises the Euclidean norm by √2, to √B times
after the last; the factor 64/√B makes that 64 times. No coordinate exceeds the norm, so `has_room`,
64·(n·W·S + 12σ) < 2^62, covers every step and the noise with one bit to spare. What was never fitted stays below it
too while it is alone: m·|q| < 2^32 · 2^8, times a weight below 2^22.
"""

import hashlib
import itertools
import math
import struct
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Annotated, Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
"""A flat vector of d numbers: a model, or a change of one."""

Integers = NDArray[np.int64]
"""A flat vector of integers on a grid."""

WIDTHS: Final = (8, 4, 2, 1)  # bits per level: whole levels to a byte
SIDES: Final = (4096, 1024, 256, 64)  # block sizes; powers of four, so that √B is an integer
GAIN: Final = 64  # √4096: `rotate_back` returns this many times the true inverse, whatever the block
MULTIPLIER_MAX: Final = 2**32 - 1

Either = TypeVar("Either", np.float64, np.int64)


class Grid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The unit, width and shape that all updates of one plan share; `id` names it.

    Raises:
        ValueError: there is no such width (decoding makes a msgspec.ValidationError of it).
    """

    exponent: Annotated[int, msgspec.Meta(ge=-256, le=256, description="e; the unit is 2^e")]
    bits: Annotated[int, msgspec.Meta(ge=1, le=8, description="b; a level is one of 2^b odd integers")]
    size: Annotated[int, msgspec.Meta(ge=1, le=2**31, description="d, the number of parameters")]

    def __post_init__(self) -> None:
        """Refuse a width without levels of its own."""
        if self.bits not in WIDTHS:
            raise ValueError(f"Grid.bits is one of {WIDTHS}, got {self.bits}: take a codec of such a width")

    @property
    def unit(self) -> float:
        """The worth of the integer 1: g = 2^exponent."""
        return math.ldexp(1.0, self.exponent)

    @property
    def top(self) -> int:
        """The highest level, 2^bits − 1."""
        return (1 << self.bits) - 1

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """(block size, how many of them), from the largest size to the smallest, in the order of the coordinates."""
        return _runs(self.size)

    @property
    def blocks(self) -> tuple[int, ...]:
        """The size of every block, in order; the last one may reach up to 63 places beyond the parameters."""
        return tuple(side for side, count in self.runs for _ in range(count))

    @property
    def padded(self) -> int:
        """How many levels an update has: `size` rounded up to a multiple of 64."""
        return _padded(self.size)

    @property
    def id(self) -> str:
        """The hex SHA-256 that names this grid.

        It is taken over the 13 bytes "mizzle/grid/1", then little-endian and without gaps: exponent (i32), bits (u8),
        size (u64), and how many blocks there are of 4096, 1024, 256 and 64 (u32 each).
        """
        counts = (count for _, count in self.runs)
        form = struct.pack("<iBQ4I", self.exponent, self.bits, self.size, *counts)
        return hashlib.sha256(b"mizzle/grid/1" + form).hexdigest()


@dataclass(frozen=True, eq=False)
class Levels:
    """One update on a grid: u = multiplier · levels, and the zero update when the multiplier is 0.

    The multiplier is 0 … 2^32 − 1; `levels` has shape (padded,), int16 for 8 bits and int8 below.
    """

    multiplier: int
    levels: NDArray[np.int16] | NDArray[np.int8]

    @cached_property
    def sum_of_squares(self) -> int:
        """Σq², exactly."""
        return _sum_of_squares(self.levels)


@dataclass(frozen=True, eq=False)
class Sparse:
    """One update with levels at a few `places` of the change, ascending, and nothing at the others; never rotated.

    `places` (k,) are 0 … size − 1, each once; `levels` has shape (k,).
    """

    multiplier: int
    places: NDArray[np.int64]
    levels: NDArray[np.int16] | NDArray[np.int8]

    @cached_property
    def sum_of_squares(self) -> int:
        """Σq², exactly."""
        return _sum_of_squares(self.levels)


Coded = Levels | Sparse
"""One update, as a codec reads it from its payload."""


@cache
def _runs(size: int) -> tuple[tuple[int, int], ...]:
    runs, left = [], -(-size // SIDES[-1]) * SIDES[-1]
    for side in SIDES:
        count, left = divmod(left, side)
        runs.append((side, count))
    return tuple(runs)


@cache
def _padded(size: int) -> int:
    return sum(side * count for side, count in _runs(size))


def clip(vector: Vector, norm: float) -> Vector:
    """The vector, shortened to Euclidean length `norm` if it is longer; one that is not finite comes back as it is."""
    peak = float(np.abs(vector).max(initial=0.0))
    if peak == 0.0 or not math.isfinite(peak):
        return vector
    direction = vector / peak  # whose squares cannot overflow
    length = math.sqrt(np.square(direction).sum())
    return vector if peak * length <= norm else direction * (norm / length)


def signs(seed: bytes, padded: int) -> NDArray[np.int8]:
    """±1 for each of `padded` places: −1 where bit i of SHAKE-256("mizzle/rotation/1" ‖ seed) is 1, low bits first."""
    stream = hashlib.shake_256(b"mizzle/rotation/1" + seed).digest(padded // 8)
    bits = np.unpackbits(np.frombuffer(stream, np.uint8), bitorder="little")
    return (1 - 2 * bits.view(np.int8)).astype(np.int8, copy=False)


@lru_cache(maxsize=8)
def places(grid: Grid) -> NDArray[np.int64]:
    """Where each parameter lies among the blocks (size,): number i at place i·k mod padded; the others hold zeros.

    k is the first number from ⌊618·padded/1000⌋ on that shares no divisor with `padded`: steps of the golden section
    put every layer into every block by its size, but for a few [Knuth 1998, Vol. 3, Sec. 6.4, Theorem S]. One block
    alone needs no spreading, and k is 1.
    """
    stride = 1
    if len(grid.blocks) > 1:
        stride = next(k for k in itertools.count(618 * grid.padded // 1000) if math.gcd(k, grid.padded) == 1)
    found = np.arange(grid.size, dtype=np.int64) * stride % grid.padded
    found.flags.writeable = False
    return found


def rotate(grid: Grid, vector: Vector, seed: bytes) -> Vector:
    """The orthonormal H·D·x / √B in every block of the change, spread by `places`: (size,) becomes (padded,)."""
    turned = np.zeros(grid.padded)
    turned[places(grid)] = vector
    turned *= signs(seed, grid.padded)
    for block, side in _by_side(grid, turned):
        block[:] = _hadamard(block) / math.isqrt(side)
    return turned


def rotate_back(grid: Grid, total: Integers, seed: bytes) -> Integers:
    """Exactly 64 times the inverse of `rotate`: D·H·t · 64/√B in integers, gathered; (padded,) becomes (size,).

    The result of windows with different seeds may be added. Needs `has_room`.
    """
    turned = total.copy()
    for block, side in _by_side(grid, turned):
        block[:] = _hadamard(block) * (GAIN // math.isqrt(side))
    turned *= signs(seed, grid.padded)
    gathered: Integers = turned[places(grid)]
    return gathered


def fit(multiplier: int, sum_of_squares: int, bound: int) -> int:
    """The largest multiplier up to this one with which the update stays within S: min(m, isqrt(S² // Σq²))."""
    return min(multiplier, math.isqrt(bound * bound // max(sum_of_squares, 1)))


def fits(multiplier: int, sum_of_squares: int, bound: int) -> bool:
    """Whether m²·Σq² ≤ S², exactly; what does not fit is never counted."""
    return multiplier * multiplier * sum_of_squares <= bound * bound


def norm_excess(multiplier: int, sum_of_squares: int, bound: int) -> float:
    """m·‖q‖₂ / S, for people to read; above 1 the update does not fit."""
    return multiplier * math.sqrt(sum_of_squares) / bound


def has_room(members: int, weight_cap: int, bound: int, sigma: int) -> bool:
    """Whether a window of so many members cannot wrap: 64·(n·W·S + 12σ) < 2^62.

    `members` counts everyone who may end in the sum, late updates too; `sigma` is the noise of the weighted sum,
    before the factor 64.
    """
    return GAIN * (members * weight_cap * bound + 12 * sigma) < 2**62


def add(total: Integers, update: Levels, weight: int) -> None:
    """Add weight · m · q to the total (padded,), in place and exactly."""
    factor = weight * update.multiplier
    fits = abs(factor) < 1 << 23  # no level is above 255
    total += np.multiply(update.levels, factor, dtype=np.int32 if fits else np.int64)


def reach(grid: Grid, update: Levels, weight: int) -> int:
    """The largest that a place of weight · m · q can be."""
    return abs(weight) * update.multiplier * grid.top


def add_near(near: NDArray[np.int32], update: Levels, weight: int) -> None:
    """Add weight · m · q to a sum (padded,) in 32 bits, in place, in half the time that `add` takes.

    Exact as long as the `reach` of all that was added stays below 2^31 together.
    """
    near += np.multiply(update.levels, weight * update.multiplier, dtype=np.int32)


def add_sparse(total: Integers, update: Sparse, weight: int) -> None:
    """Add 64 · weight · m · q to a total (size,) that was rotated back, in place and exactly."""
    total[update.places] += np.multiply(update.levels, GAIN * weight * update.multiplier, dtype=np.int64)


def value(grid: Grid, update: Coded, seed: bytes) -> Vector:
    """The change (size,) that an update says, in floats; `seed` is the rotation it was coded with."""
    total = np.zeros(grid.size, np.int64)
    if isinstance(update, Sparse):
        add_sparse(total, update, 1)
    else:
        turned = np.zeros(grid.padded, np.int64)
        add(turned, update, 1)
        total = rotate_back(grid, turned, seed)
    return np.asarray(total * (grid.unit / GAIN), np.float64)


def _sum_of_squares(levels: NDArray[np.int16] | NDArray[np.int8]) -> int:
    """Σq²: 255² fits 32 bits and 2^31 of them 64; of levels in int8, at most 15, it is 8 bits and 2^24 of them 32.

    Not a dot product: from 10,000 elements on that wakes the BLAS threads, 8 ms instead of .05 on a busy machine.
    """
    if levels.dtype == np.int8:
        squares, most = np.square(levels.view(np.uint8)), 1 << 24
        return sum(int(squares[at : at + most].sum(dtype=np.uint32)) for at in range(0, squares.size, most))
    return int(np.square(levels, dtype=np.int32).sum(dtype=np.int64))


def _by_side(grid: Grid, padded: NDArray[Either]) -> list[tuple[NDArray[Either], int]]:
    """Views (count, side) on the blocks of each size, with that size."""
    views, start = [], 0
    for side, count in grid.runs:
        stop = start + side * count
        views.append((padded[start:stop].reshape(count, side), side))
        start = stop
    return views


def _hadamard(blocks: NDArray[Either]) -> NDArray[Either]:
    """H·x for every row of (count, side), unscaled, in natural order.

    Each pass combines neighbours and writes sums to the first half, differences to the second; after log2(side) passes
    each bit of the index has had its turn and is back in its place. That all passes look alike makes them three times
    as fast in numpy as butterflies of growing span.
    """
    half = blocks.shape[1] // 2
    here, there = blocks.copy(), np.empty_like(blocks)
    for _ in range(blocks.shape[1].bit_length() - 1):
        np.add(here[:, 0::2], here[:, 1::2], out=there[:, :half])
        np.subtract(here[:, 0::2], here[:, 1::2], out=there[:, half:])
        here, there = there, here
    return here
