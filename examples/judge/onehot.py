"""The one-hot oracle: who is in a sum, read off the sum itself.

In a federation without noise device i sends 1 in its own coordinate and 0 elsewhere. A full contribution then adds
`weight` × `one` to coordinate i of the opened sum, and nothing to any other; what one unit of weight adds is
level × multiplier × gain of the codec. So each coordinate is 0 or 1, it is 1 exactly when the device holds a receipt
`counted` for that release, and a 2 is a double count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FULL: Final = 64


@dataclass(frozen=True)
class Scale:
    """How a 1 stands in a sum: as level × multiplier × gain × weight."""

    level: int
    multiplier: int
    gain: int

    @property
    def one(self) -> int:
        """What a 1 of weight one adds to its coordinate."""
        return self.level * self.multiplier * self.gain


@dataclass(frozen=True)
class Counted:
    """A receipt `counted`: whose coordinate, in which release, with which weight of 64."""

    coordinate: int
    release: int
    weight: int = FULL


@dataclass(frozen=True)
class Fault:
    """A coordinate of an opened sum that is not what the receipts promise; `holds` is 2 where it was counted twice."""

    release: int
    coordinate: int
    holds: float
    promised: int


def faults(
    totals: Mapping[int, NDArray[np.int64]], receipts: Sequence[Counted], scale: Scale, slack: float = 0.0
) -> tuple[Fault, ...]:
    """Where the opened sums and the receipts disagree, by release and coordinate.

    Args:
        totals: each release's total, as many whole numbers as the model has parameters.
        receipts: every receipt `counted` that a device holds, once.
        scale: how a 1 stands in a total.
        slack: how far from 0 or 1 a coordinate may be, where a codec rounds by chance; 0 takes exact numbers only.
    """
    weights = _weights(receipts)
    found = [fault for release, total in totals.items() for fault in _of(release, total, weights, scale, slack)]
    return tuple(sorted([*found, *_without_total(totals, weights)], key=lambda one: (one.release, one.coordinate)))


def _weights(receipts: Sequence[Counted]) -> Mapping[tuple[int, int], tuple[int, ...]]:
    """The weights promised to each coordinate of each release."""
    found: dict[tuple[int, int], tuple[int, ...]] = defaultdict(tuple)
    for one in receipts:
        found[one.release, one.coordinate] += (one.weight,)
    return found


def _of(
    release: int,
    total: NDArray[np.int64],
    weights: Mapping[tuple[int, int], tuple[int, ...]],
    scale: Scale,
    slack: float,
) -> Iterator[Fault]:
    for coordinate, value in enumerate(total.tolist()):
        own = weights.get((release, coordinate), ())
        unit = (own[0] if own else FULL) * scale.one
        if abs(value - min(len(own), 1) * unit) > slack * unit or len(own) > 1:
            yield Fault(release, coordinate, value / unit, len(own))


def _without_total(
    totals: Mapping[int, NDArray[np.int64]], weights: Mapping[tuple[int, int], tuple[int, ...]]
) -> Iterator[Fault]:
    """Receipts for a release or a coordinate that there is not."""
    for (release, coordinate), own in weights.items():
        size = len(totals[release]) if release in totals else 0
        if not 0 <= coordinate < size:
            yield Fault(release, coordinate, 0.0, len(own))


def opened(body: bytes) -> NDArray[np.int64]:
    """A release's total as the ledger keeps it: int64, little-endian."""
    return np.frombuffer(body, dtype="<i8").astype(np.int64)
