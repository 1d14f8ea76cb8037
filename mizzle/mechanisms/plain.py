"""No noise and no claim: the mechanism of a plan that says `mechanism = "plain"`.

The devices' updates are clipped, summed and released as they are. Whoever sees two releases that differ by one device
may learn all about it; all that stands between is the smallest crowd that a plan allows. It is for data that are not
personal, and for measuring what privacy costs.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mizzle.grid import Integers


@dataclass(frozen=True)
class Plain:
    """Sums as they are; every update costs nothing that anybody counts."""

    claims: ClassVar[bool] = False

    def sigma(self, weight_cap: int, bound: int) -> int:
        """There is no noise."""
        del weight_cap, bound
        return 0

    def price(self, weight: int, weight_cap: int, bound: int) -> int:
        """Nothing is promised, so nothing is counted."""
        del weight, weight_cap, bound
        return 0

    def noise(self, key: bytes, sigma: int, size: int) -> Integers:
        """Zeros (size,)."""
        del key, sigma
        return np.zeros(size, np.int64)
