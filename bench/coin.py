"""The negative control of `bench.accuracy`: one bit by the toss of a coin, with error feedback.

Rounding a coordinate x to ±max at random is unbiased, yet its error is d·max² − ‖x‖², a dozen times ‖x‖² after a
rotation. Feedback works only where a codec loses less than there was [Karimireddy et al. 2019, arXiv:1901.09847,
Sec. 4]; here what is carried over grows from window to window, until only the clip holds it. So training must fail: a
bench that does not see it would not see a codec that is broken.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mizzle import codes
from mizzle.grid import Grid, Levels, Vector, fit, rotate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mizzle.plugins import Draw


@dataclass(frozen=True)
class Coin:
    """The codec of a plan that says `codec = "coin"`."""

    bits: ClassVar[int] = 1
    error_feedback: ClassVar[bool] = True

    def payload_bytes(self, grid: Grid) -> int:
        """The size of every payload on this grid."""
        return codes.MULTIPLIER_BYTES + grid.padded // 8

    def encode(self, change: Vector, grid: Grid, seed: bytes, bound: int, draw: Draw) -> bytes:
        """The payload of a change Δ (d,), rotated and rounded to ±max."""
        codes.refuse_misfit(change, grid, self.bits)
        turned = rotate(grid, change, seed)
        multiplier = codes.least_multiplier(float(np.abs(turned).max()), grid)
        chosen = codes.rounded(turned / (multiplier * grid.unit) if multiplier else turned, grid.top, draw)
        update = Levels(multiplier, codes.levels(chosen, self.bits))
        return codes.packed(fit(multiplier, update.sum_of_squares, bound), chosen, self.bits)

    def decode(self, payload: bytes, grid: Grid) -> Levels:
        """The update in a payload."""
        codes.refuse_length(payload, self.payload_bytes(grid), "coin", f"4 + {grid.padded} levels of one bit")
        return Levels(*codes.unpacked(payload, self.bits))


@contextmanager
def offered() -> Iterator[None]:
    """Let plans name it, as if a package that offers it were installed: by its metadata alone, on `sys.path`."""
    with TemporaryDirectory() as folder:
        about = Path(folder) / "mizzle_bench-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mizzle-bench\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("[mizzle.codecs]\ncoin = bench.coin:Coin\n")
        sys.path.append(folder)
        try:
            yield
        finally:
            sys.path.remove(folder)
