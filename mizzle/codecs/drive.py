"""Rotate, keep the nearest of 2 or 4 levels, scale so that the change comes through whole: 1 or 2 bits a parameter.

With one bit this is DRIVE [Vargaftik et al. 2021, arXiv:2105.08339, Sec. 4, with the unbiased scale], with two it is
EDEN [Vargaftik et al. 2022, arXiv:2108.08842] on evenly spaced levels. A rotated change is close to Gaussian whatever
it was, so the same thresholds are right for all: 0, and with two bits ±.9957 of its root mean square besides, where
evenly spaced levels lose least of a Gaussian [Max 1960, doi:10.1109/TIT.1960.1057548, Table II].

The scale ‖x‖²/⟨x, q⟩ makes the part of every update along its change the change itself, under each rotation; it is
rounded stochastically to the integer m, which keeps it so on average. What an update has beside that is its error,
π/2 − 1 = .571 of the squared norm with one bit and .135 with two. It averages out over updates of unlike changes, while
equal changes in one window share it. Over unlike rotations of one change all of it averages out if they are uniform
[DRIVE, Sec. 4]. Ours are not: each block has its own Hadamard rotation, and one scale serves all of them. What is left
then, after any number of rotations, as a part of the norm (measured on one change of each kind, 1 bit / 2 bits):

    parameters   Gaussian      1 % not zero   10 % not zero   cubes of Laplace draws
           100   .06 / .03          –           .76 / .15            .57 / .10
         5,000   .03 / .01      .34 / .17       .13 / .03            .19 / .13
        13,258   .01 / .00      .14 / .05       .04 / .02            .20 / .06
        65,536   .01 / .01      .14 / .06       .04 / .01            .16 / .17

With a scale for each block those of 1 bit would be .35 for the .76, .15 for the .34, .02 for the .14: most of it is
that a few large numbers make some blocks louder than others (ADR 8), the rest that one rotation by signs and Hadamard
leaves them visible. So for models of a few hundred parameters, or changes in which few numbers matter, take more bits,
or "topk", whose error feedback carries over what was lost.

The price is a longer update, 25 % with one bit and 7 % with two: one that was clipped is shortened by as much, by the
fit rule.

A payload has a fixed size, 4 + padded·bits/8 bytes: the multiplier, then a code for each place of the rotated change
(`mizzle.codes`).
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from mizzle import codes
from mizzle.grid import MULTIPLIER_MAX, Grid, Levels, Vector, fit, rotate
from mizzle.plugins import Draw

WIDTHS: Final = (1, 2)

_OUTER: Final = 0.9957  # |x| beyond this many root mean squares takes an outer level


@dataclass(frozen=True)
class Drive:
    """The codec of a plan that says `codec = "drive"`; `bits` is 1 or 2 and the grid's own."""

    bits: int = 1

    error_feedback: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse a width whose levels this codec has no thresholds for."""
        if self.bits not in WIDTHS:
            raise ValueError(
                f"drive.bits is one of {WIDTHS}, got {self.bits}: set it in the plan's [update] table, or take the"
                ' codec "hadamard" for 4 and 8 bits'
            )

    def payload_bytes(self, grid: Grid) -> int:
        """The size of every payload on this grid."""
        return codes.MULTIPLIER_BYTES + grid.padded * self.bits // 8

    def encode(self, change: Vector, grid: Grid, seed: bytes, bound: int, draw: Draw) -> bytes:
        """The payload of a change Δ (d,) that the caller has clipped to S·g; it fits the bound S exactly.

        `draw(n)` gives n random bytes; 4 are asked for, once, for the rounding of the multiplier.

        Raises:
            ValueError: the change has another shape, or holds NaN or Inf.
        """
        codes.refuse_misfit(change, grid, self.bits)
        turned = rotate(grid, change, seed)
        chosen = self._nearest(turned)
        update = Levels(1, codes.levels(chosen, self.bits))
        multiplier = _multiplier(turned, update, grid, draw)
        return codes.packed(fit(multiplier, update.sum_of_squares, bound), chosen, self.bits)

    def decode(self, payload: bytes, grid: Grid) -> Levels:
        """The update in a payload, whatever its bits say; whether it fits the bound is for `grid.fits` to tell.

        Raises:
            Unreadable: the payload has the wrong length.
        """
        made_of = f"4 + {grid.padded} levels of {self.bits} bits"
        codes.refuse_length(payload, self.payload_bytes(grid), "drive", made_of)
        return Levels(*codes.unpacked(payload, self.bits))

    def _nearest(self, turned: Vector) -> codes.Codes:
        """The code of the level that is nearest to each place of the rotated change."""
        is_positive = turned >= 0
        if self.bits == 1:
            return is_positive.astype(np.uint8)
        peak = float(np.abs(turned).max())
        part = turned / peak if peak > 0 else turned  # whose squares neither overflow nor vanish
        is_outer = np.abs(part) > _OUTER * math.sqrt(np.square(part).mean())
        return (1 + is_positive + np.where(is_positive, is_outer, -1 * is_outer)).astype(np.uint8)


def _multiplier(turned: Vector, update: Levels, grid: Grid, draw: Draw) -> int:
    """‖x‖²/⟨x, q⟩ in units of the grid, rounded up as often as makes its mean right."""
    peak = float(np.abs(turned).max())
    if peak == 0:
        return 0
    part = turned / peak
    scale = peak * (np.square(part).sum() / (part * update.levels).sum()) / grid.unit
    up = int.from_bytes(draw(4), "little") / 2**32
    return min(math.floor(float(scale) + up), MULTIPLIER_MAX)
