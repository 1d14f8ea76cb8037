"""From floats to the grid's levels and into bytes, and back: what codecs have in common.

A level is one of the 2^b odd integers q = 2c − (2^b − 1), and c, its code, takes b bits. A payload begins with the
multiplier m (u32, little-endian); codes are packed without gaps, the first into the lowest bits of the first byte.
"""

import math
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mizzle.errors import Unreadable
from mizzle.grid import MULTIPLIER_MAX, Grid, Vector
from mizzle.plugins import Draw

Codes = NDArray[np.uint8]
"""One code of b bits for each level, unpacked."""

Levels = NDArray[np.int16] | NDArray[np.int8]
"""Odd integers: of 16 bits each where a code has 8, else of 8."""

MULTIPLIER_BYTES: Final = 4

_BYTE: Final = 8  # a code of 8 bits fills its byte, and its level needs two


def refuse_misfit(change: Vector, grid: Grid, bits: int) -> None:
    """Return if the change Δ has the grid's shape (d,) and is finite, and the codec the grid's width.

    Raises:
        ValueError: it has another shape, or holds NaN or Inf; or the codec and the grid are not of one plan.
    """
    if grid.bits != bits:
        raise ValueError(f"the codec has {bits} bits, the grid {grid.bits}: take both from one plan")
    if change.shape != (grid.size,):
        raise ValueError(f"a change on grid {grid.id[:12]} has shape ({grid.size},), got {change.shape}: flatten it")
    if not np.isfinite(change).all():
        wrong = np.count_nonzero(~np.isfinite(change))
        raise ValueError(
            f"a change holds finite numbers only, got {wrong} NaN or Inf among {change.size}: training diverged;"
            ' lower learning_rate, or raise mizzle.Decline("diverged")'
        )


def refuse_length(payload: bytes, wanted: int, codec: str, made_of: str) -> None:
    """Return if a payload has the length that all of its codec's have on this grid.

    Raises:
        Unreadable: it has not.
    """
    if len(payload) != wanted:
        raise Unreadable(
            f"a {codec} payload is {wanted} bytes ({made_of}), got {len(payload)}: refuse it; its device works by"
            " another plan"
        )


def least_multiplier(peak: float, grid: Grid) -> int:
    """The smallest m with peak ≤ m·top·g, exactly; beyond 2^32 − 1 the highest levels are cut off instead."""
    if peak >= MULTIPLIER_MAX * grid.top * grid.unit:
        return MULTIPLIER_MAX
    return math.ceil(Fraction(peak) / Fraction(grid.unit) / grid.top)


def rounded(scaled: Vector, top: int, draw: Draw) -> Codes:
    """Codes of the two odd levels around each value, the nearer one likelier, so that the mean is the value.

    In fixed point with 32 bits after the comma: the highest value plus the largest draw stays just below the next
    code, which floats would round up to. The mean is off by at most 2^-33 of a step.
    """
    fixed = np.rint((np.clip(scaled, -top, top) + top) * 2.0**31).astype(np.int64)
    fixed += np.frombuffer(draw(4 * scaled.size), "<u4")
    return (fixed >> 32).astype(np.uint8)


def levels(codes: Codes, bits: int) -> Levels:
    """The odd integers q = 2c − (2^b − 1)."""
    if bits == _BYTE:
        return codes.astype(np.int16) * np.int16(2) - np.int16(255)
    return codes.astype(np.int8) * np.int8(2) - np.int8(2**bits - 1)


def packed(multiplier: int, codes: Codes, bits: int) -> bytes:
    """The multiplier and the codes (a whole number of bytes of them)."""
    lanes = codes.reshape(-1, _BYTE // bits)
    whole = np.zeros(len(lanes), np.uint8)
    for lane in range(lanes.shape[1]):
        whole |= lanes[:, lane] << np.uint8(lane * bits)
    return multiplier.to_bytes(MULTIPLIER_BYTES, "little") + whole.tobytes()


def unpacked(payload: bytes, bits: int) -> tuple[int, Levels]:
    """The multiplier, and the levels of the codes that `packed` wrote."""
    multiplier = int.from_bytes(payload[:MULTIPLIER_BYTES], "little")
    codes = np.frombuffer(payload, np.uint8, offset=MULTIPLIER_BYTES)
    for held in (4, 2, 1):
        if bits <= held:
            codes = _halved(codes, held)
    return multiplier, levels(codes, bits)


def _halved(codes: Codes, bits: int) -> Codes:
    """Two codes of so many bits out of each byte, the lower one first.

    All bytes at once, side by side in whole words: twice as fast as a table with an entry for each byte.
    """
    pairs = codes.astype("<u2")
    pairs |= pairs << (_BYTE - bits)
    pairs &= 0x0101 * ((1 << bits) - 1)
    return pairs.view(np.uint8)
