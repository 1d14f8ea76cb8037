"""What a plan means in the numbers of the grid: everybody who codes, judges, charges or combines works by these."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Final

from mizzle.grid import Grid
from mizzle.registry import plug_in

if TYPE_CHECKING:
    from mizzle.plan import Plan
    from mizzle.plugins import Codec, Mechanism

_FINEST: Final = 21
"""The clip is at least 2^21 units of the grid, so that the multiplier of an update is fine enough (DESIGN 4)."""


def grid_of(plan: Plan) -> Grid:
    """The grid that every update of `plan` lies on."""
    return _grid(plan.update.clip, codec_of(plan).bits, plan.model.parameters)


@cache  # it is asked for with every update
def _grid(clip: float, bits: int, size: int) -> Grid:
    return Grid(exponent=math.floor(math.log2(clip)) - _FINEST, bits=bits, size=size)


def bound_of(plan: Plan) -> int:
    """S: the clip in units of the grid, rounded down."""
    return int(plan.update.clip / grid_of(plan).unit)


def codec_of(plan: Plan) -> Codec:
    """The codec that the plan names."""
    codec: Codec = plug_in("mizzle.codecs", plan.update.codec)
    return codec


def mechanism_of(plan: Plan) -> Mechanism:
    """The privacy mechanism that the plan names."""
    mechanism: Mechanism = plug_in("mizzle.mechanisms", plan.privacy.mechanism)
    return mechanism
