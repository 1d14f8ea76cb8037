"""Rotate, round stochastically to 8 or 4 bits, pack: the codec that treats every direction alike.

A payload has a fixed size, 4 + padded·bits/8 bytes: the multiplier m (u32, little-endian), then the codes
c = (q + 2^b − 1)/2 in the order of the coordinates; with 4 bits the low nibble comes first.

The rounding is unbiased: the error of one update is (2·m·g)²/6 a coordinate, and averages out over many. As m follows
the largest coordinate, that is about 5.9 % of the squared norm of a Gaussian change of d = 65,536 at 4 bits (4.6 to 7.2
over seeds) and .02 % at 8; heavy tails come through a little worse, 6.5 %, because a block has only 4,096 places to
spread them over.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mizzle.errors import Unreadable
from mizzle.grid import MULTIPLIER_MAX, WIDTHS, Grid, Levels, Vector, fit, rotate
from mizzle.plugins import Draw

_BYTE: Final = 8  # with 8 bits a code fills a byte and its level needs two
_MULTIPLIER_BYTES: Final = 4


@dataclass(frozen=True)
class Hadamard:
    """The codec of a plan that says `codec = "hadamard"`; `bits` is 8 or 4 and the grid's own."""

    bits: int

    def __post_init__(self) -> None:
        """Refuse a width that this codec cannot round to."""
        if self.bits not in WIDTHS:
            raise ValueError(f"hadamard.bits is one of {WIDTHS}, got {self.bits}: set it in the plan's [update] table")

    def payload_bytes(self, grid: Grid) -> int:
        """The size of every payload on this grid."""
        return _MULTIPLIER_BYTES + grid.padded * self.bits // 8

    def encode(self, change: Vector, grid: Grid, seed: bytes, bound: int, draw: Draw) -> bytes:
        """The payload of a change Δ (d,) that the caller has clipped to S·g; it fits the bound S exactly.

        `draw(n)` gives n random bytes; 4 per level are asked for, once, and the payload is a function of them.

        Raises:
            ValueError: the change has another shape, or holds NaN or Inf.
        """
        self._check(grid)
        turned = _turned(change, grid, seed)
        multiplier = _multiplier(float(np.abs(turned).max()), grid)
        if multiplier == 0:
            return bytes(self.payload_bytes(grid))
        codes = _rounded(turned / (multiplier * grid.unit), grid.top, draw)
        update = Levels(multiplier, _levels(codes, grid.bits))
        fitting = fit(multiplier, update.sum_of_squares, bound)
        return fitting.to_bytes(_MULTIPLIER_BYTES, "little") + _packed(codes, grid.bits)

    def decode(self, payload: bytes, grid: Grid) -> Levels:
        """The update in a payload, whatever its bits say; whether it fits the bound is for `grid.fits` to tell.

        Raises:
            Unreadable: the payload has the wrong length.
        """
        self._check(grid)
        wanted = self.payload_bytes(grid)
        if len(payload) != wanted:
            raise Unreadable(
                f"a hadamard payload on grid {grid.id[:12]} is {wanted} bytes (4 + {grid.padded} levels of"
                f" {grid.bits} bits), got {len(payload)}: refuse it; its device works by another plan"
            )
        codes = _unpacked(np.frombuffer(payload, np.uint8, offset=_MULTIPLIER_BYTES), grid.bits)
        return Levels(int.from_bytes(payload[:_MULTIPLIER_BYTES], "little"), _levels(codes, grid.bits))

    def _check(self, grid: Grid) -> None:
        if grid.bits != self.bits:
            raise ValueError(f"the codec has {self.bits} bits, the grid {grid.bits}: take both from one plan")


def _turned(change: Vector, grid: Grid, seed: bytes) -> Vector:
    if change.shape != (grid.size,):
        raise ValueError(f"a change on grid {grid.id[:12]} has shape ({grid.size},), got {change.shape}: flatten it")
    if not np.isfinite(change).all():
        wrong = np.count_nonzero(~np.isfinite(change))
        raise ValueError(
            f"a change holds finite numbers only, got {wrong} NaN or Inf among {change.size}: training diverged;"
            ' lower learning_rate, or raise mizzle.Decline("diverged")'
        )
    return rotate(grid, change, seed)


def _multiplier(peak: float, grid: Grid) -> int:
    """The smallest m with peak ≤ m·top·g, exactly; beyond 2^32 − 1 the highest levels are cut off instead."""
    if peak >= MULTIPLIER_MAX * grid.top * grid.unit:
        return MULTIPLIER_MAX
    return math.ceil(Fraction(peak) / Fraction(grid.unit) / grid.top)


def _rounded(scaled: Vector, top: int, draw: Draw) -> NDArray[np.uint8]:
    """Codes of the two odd levels around each value, the nearer one likelier, so that the mean is the value.

    In fixed point with 32 bits after the comma: the highest value plus the largest draw stays just below the next
    code, which floats would round up to. The mean is off by at most 2^-33 of a step.
    """
    fixed = np.rint((np.clip(scaled, -top, top) + top) * 2.0**31).astype(np.int64)
    fixed += np.frombuffer(draw(4 * scaled.size), "<u4")
    return (fixed >> 32).astype(np.uint8)


def _levels(codes: NDArray[np.uint8], bits: int) -> NDArray[np.int16] | NDArray[np.int8]:
    """The odd integers q = 2c − (2^b − 1)."""
    if bits == _BYTE:
        return codes.astype(np.int16) * np.int16(2) - np.int16(255)
    return codes.astype(np.int8) * np.int8(2) - np.int8(2**bits - 1)


def _packed(codes: NDArray[np.uint8], bits: int) -> bytes:
    return codes.tobytes() if bits == _BYTE else (codes[0::2] | codes[1::2] << 4).tobytes()


def _unpacked(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    return packed if bits == _BYTE else np.stack((packed & 15, packed >> 4), axis=-1).reshape(-1)
