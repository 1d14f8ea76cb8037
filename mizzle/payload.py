"""An update's payload, by its plan: coded on the grid, and compressed where no privacy claim forbids it.

Under a privacy claim every payload has its codec's full length. A compressed length depends on the data, and whoever
watches the line would read it (DESIGN 4). Without one a payload that zstd makes shorter is sent compressed: one that
has the full length is as the codec wrote it, a shorter one is a zstd frame of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mizzle import packing
from mizzle.errors import Misbehaved, Unreadable
from mizzle.grid import MULTIPLIER_MAX, Levels, Sparse
from mizzle.misbehaviour import asked
from mizzle.terms import codec_of, grid_of, mechanism_of

if TYPE_CHECKING:
    from mizzle.grid import Coded, Grid, Integers, Vector
    from mizzle.plan import Plan
    from mizzle.plugins import Draw

_WIDE: Final = (np.dtype(np.int8), np.dtype(np.int16))
"""What levels are held in, so that no sum of their squares wraps (I12)."""


def written(change: Vector, plan: Plan, seed: bytes, bound: int, draw: Draw) -> bytes:
    """The payload of a change Δ (d,) that was clipped, for a window of this rotation seed and bound.

    Raises:
        ValueError: the change has another shape, or holds NaN or Inf.
        Misbehaved: the codec's payload has another length than it says all have.
    """
    codec, grid = codec_of(plan), grid_of(plan)
    full = codec.encode(change, grid, seed, bound, draw)
    if len(full) != (wanted := codec.payload_bytes(grid)):
        name = plan.update.codec.name
        raise Misbehaved(f"codec {name!r} wrote {len(full)} bytes, all its payloads have {wanted}: nothing is sent")
    if mechanism_of(plan).claims:
        return full
    return min(packing.pack(full), full, key=len)


def read(payload: bytes, plan: Plan) -> Coded:
    """The update in a payload; whether it fits the bound is for `grid.fits` to tell.

    Raises:
        Unreadable: no device that works by this plan wrote it; or the codec raised something else, or gave what is no
            update on the grid.
    """
    codec, grid = codec_of(plan), grid_of(plan)
    full = codec.payload_bytes(grid)
    if len(payload) < full and not mechanism_of(plan).claims:
        payload = packing.unpack(payload, full)
    try:
        update = asked(f"codec {plan.update.codec.name!r}", codec.decode, payload, grid)
    except Misbehaved as error:  # whatever stops somebody's codec at these bytes, they cannot be read
        if isinstance(error.__cause__, Unreadable):
            raise error.__cause__ from None
        raise Unreadable(str(error)) from error
    if not _lies_on(grid, update):
        raise Unreadable(f"codec {plan.update.codec.name!r} gave what is no update on the grid")
    return update


def _lies_on(grid: Grid, update: object) -> bool:
    """Whether sums can take this: as many small integers as they have places, or few that each have one of them."""
    match update:
        case Levels(multiplier=int() as multiplier, levels=np.ndarray() as levels):
            has_places = levels.shape == (grid.padded,)
        case Sparse(multiplier=int() as multiplier, places=np.ndarray() as places, levels=np.ndarray() as levels):
            is_whole = places.dtype == np.int64 and places.ndim == 1 and places.shape == levels.shape
            has_places = is_whole and (not places.size or _ascend(places, grid.size))
        case _:
            return False
    is_small = levels.dtype in _WIDE and (not levels.size or -grid.top <= levels.min() <= levels.max() <= grid.top)
    return has_places and bool(is_small) and 0 <= multiplier <= MULTIPLIER_MAX


def _ascend(places: Integers, size: int) -> bool:
    return bool(places[0] >= 0 and places[-1] < size and (places[1:] > places[:-1]).all())
