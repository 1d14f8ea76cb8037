"""Rotate, round stochastically to 8 or 4 bits, pack: the codec that treats every direction alike.

A payload has a fixed size, 4 + padded·bits/8 bytes: the multiplier, then a code for each place of the rotated change
(`mizzle.codes`).

The rounding is unbiased: the error of one update is (2·m·g)²/6 a coordinate, and averages out over many. As m follows
the largest coordinate, that is about 5.9 % of the squared norm of a Gaussian change of d = 65,536 at 4 bits (4.6 to 7.2
over seeds) and .02 % at 8; heavy tails come through a little worse, 6.5 %, because a block has only 4,096 places to
spread them over.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from mizzle import codes
from mizzle.grid import Grid, Levels, Vector, fit, rotate
from mizzle.plugins import Draw

WIDTHS: Final = (8, 4)


@dataclass(frozen=True)
class Hadamard:
    """The codec of a plan that says `codec = "hadamard"`; `bits` is 8 or 4 and the grid's own."""

    bits: int = 8

    error_feedback: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse a width that this codec cannot round to."""
        if self.bits not in WIDTHS:
            raise ValueError(
                f"hadamard.bits is one of {WIDTHS}, got {self.bits}: set it in the plan's [update] table, or take the"
                ' codec "drive" for 1 and 2 bits'
            )

    def payload_bytes(self, grid: Grid) -> int:
        """The size of every payload on this grid."""
        return codes.MULTIPLIER_BYTES + grid.padded * self.bits // 8

    def encode(self, change: Vector, grid: Grid, seed: bytes, bound: int, draw: Draw) -> bytes:
        """The payload of a change Δ (d,) that the caller has clipped to S·g; it fits the bound S exactly.

        `draw(n)` gives n random bytes; 4 per level are asked for, once, and the payload is a function of them.

        Raises:
            ValueError: the change has another shape, or holds NaN or Inf.
        """
        codes.refuse_misfit(change, grid, self.bits)
        turned = rotate(grid, change, seed)
        multiplier = codes.least_multiplier(float(np.abs(turned).max()), grid)
        if multiplier == 0:
            return bytes(self.payload_bytes(grid))
        chosen = codes.rounded(turned / (multiplier * grid.unit), grid.top, draw)
        update = Levels(multiplier, codes.levels(chosen, self.bits))
        return codes.packed(fit(multiplier, update.sum_of_squares, bound), chosen, self.bits)

    def decode(self, payload: bytes, grid: Grid) -> Levels:
        """The update in a payload, whatever its bits say; whether it fits the bound is for `grid.fits` to tell.

        Raises:
            Unreadable: the payload has the wrong length.
        """
        made_of = f"4 + {grid.padded} levels of {self.bits} bits"
        codes.refuse_length(payload, self.payload_bytes(grid), "hadamard", made_of)
        return Levels(*codes.unpacked(payload, self.bits))
