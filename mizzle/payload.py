"""An update's payload, by its plan: coded on the grid, and compressed where no privacy claim forbids it.

Under a privacy claim every payload has its codec's full length. A compressed length depends on the data, and whoever
watches the line would read it (DESIGN 4). Without one a payload that zstd makes shorter is sent compressed: one that
has the full length is as the codec wrote it, a shorter one is a zstd frame of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mizzle import packing
from mizzle.terms import codec_of, grid_of, mechanism_of

if TYPE_CHECKING:
    from mizzle.grid import Coded, Vector
    from mizzle.plan import Plan
    from mizzle.plugins import Draw


def written(change: Vector, plan: Plan, seed: bytes, bound: int, draw: Draw) -> bytes:
    """The payload of a change Δ (d,) that was clipped, for a window of this rotation seed and bound.

    Raises:
        ValueError: the change has another shape, or holds NaN or Inf.
    """
    full = codec_of(plan).encode(change, grid_of(plan), seed, bound, draw)
    if mechanism_of(plan).claims:
        return full
    return min(packing.pack(full), full, key=len)


def read(payload: bytes, plan: Plan) -> Coded:
    """The update in a payload; whether it fits the bound is for `grid.fits` to tell.

    Raises:
        Unreadable: no device that works by this plan wrote it.
    """
    codec, grid = codec_of(plan), grid_of(plan)
    full = codec.payload_bytes(grid)
    if len(payload) < full and not mechanism_of(plan).claims:
        payload = packing.unpack(payload, full)
    return codec.decode(payload, grid)
