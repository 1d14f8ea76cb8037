"""Keep the largest changes and drop the others: a sparse codec, for models of which few parameters move.

What is dropped is not lost: the device adds it to its next change (error feedback [Stich, Cordonnier, Jaggi 2018,
arXiv:1809.07599, Alg. 1]), clipped together with it, so that one update is worth as little as any other. Without the
feedback the codec is biased and training stalls.

A payload has a fixed size, 4 + ⌈k·w/8⌉ + k bytes for the k = ⌈share·d⌉ largest of d parameters: the multiplier; their
places, strictly ascending, w = ⌈log2 d⌉ bits each, packed without gaps, the first in the lowest bits of the first byte;
then a code of 8 bits for each, rounded stochastically (`mizzle.codes`). There is no rotation: it would spread the few
large changes over all places.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mizzle import codes
from mizzle.errors import Unreadable
from mizzle.grid import Grid, Sparse, Vector, fit
from mizzle.plugins import Draw


@dataclass(frozen=True)
class Topk:
    """The codec of a plan that says `codec = "topk"`: it keeps `share` of the parameters."""

    share: float = 0.01
    error_feedback: bool = True

    bits: ClassVar[int] = 8

    def __post_init__(self) -> None:
        """Refuse a share that keeps nothing, or more than there is."""
        if not 0 < self.share <= 1:
            raise ValueError(f"topk.share is above 0 and at most 1, got {self.share}: set it in the [update] table")

    def kept(self, grid: Grid) -> int:
        """k: how many parameters an update holds."""
        return math.ceil(self.share * grid.size)

    def payload_bytes(self, grid: Grid) -> int:
        """The size of every payload on this grid."""
        return codes.MULTIPLIER_BYTES + _places_bytes(self.kept(grid), grid) + self.kept(grid)

    def encode(self, change: Vector, grid: Grid, seed: bytes, bound: int, draw: Draw) -> bytes:
        """The payload of a change Δ (d,) that the caller has clipped to S·g; it fits the bound S exactly.

        `draw(n)` gives n random bytes; 4 per parameter kept are asked for, once. The seed of the rotation is not used.

        Raises:
            ValueError: the change has another shape, or holds NaN or Inf.
        """
        del seed
        codes.refuse_misfit(change, grid, self.bits)
        places = np.sort(np.argpartition(np.abs(change), -self.kept(grid))[-self.kept(grid) :])
        largest = change[places]
        multiplier = codes.least_multiplier(float(np.abs(largest).max()), grid)
        scaled = largest / (multiplier * grid.unit) if multiplier else largest
        chosen = codes.rounded(scaled, grid.top, draw)
        update = Sparse(multiplier, places, codes.levels(chosen, self.bits))
        head = codes.packed(fit(multiplier, update.sum_of_squares, bound), chosen, self.bits)
        return head[: codes.MULTIPLIER_BYTES] + _packed(places, grid) + head[codes.MULTIPLIER_BYTES :]

    def decode(self, payload: bytes, grid: Grid) -> Sparse:
        """The update in a payload; whether it fits the bound is for `grid.fits` to tell.

        Raises:
            Unreadable: the payload has the wrong length, or a place that is out of range or does not ascend.
        """
        kept, start = self.kept(grid), codes.MULTIPLIER_BYTES
        codes.refuse_length(payload, self.payload_bytes(grid), "topk", f"4 + places and codes of {kept} parameters")
        until = start + _places_bytes(kept, grid)
        places = _unpacked(payload[start:until], kept, grid)
        if places[-1] >= grid.size or not (places[1:] > places[:-1]).all():
            raise Unreadable(f"the places of a topk payload ascend strictly and are below {grid.size}; these do not")
        multiplier, levels = codes.unpacked(payload[:start] + payload[until:], self.bits)
        return Sparse(multiplier, places, levels)


def _width(grid: Grid) -> int:
    """w: how many bits a place takes."""
    return max(1, (grid.size - 1).bit_length())


def _places_bytes(kept: int, grid: Grid) -> int:
    return -(-kept * _width(grid) // 8)


def _packed(places: NDArray[np.int64], grid: Grid) -> bytes:
    bits = np.unpackbits(places.astype("<u4").view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")
    return np.packbits(bits[:, : _width(grid)], bitorder="little").tobytes()


def _unpacked(packed: bytes, kept: int, grid: Grid) -> NDArray[np.int64]:
    width = _width(grid)
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=kept * width, bitorder="little").reshape(kept, width)
    whole = np.zeros((kept, 32), np.uint8)
    whole[:, :width] = bits
    return np.packbits(whole, axis=1, bitorder="little").view("<u4").reshape(-1).astype(np.int64)
