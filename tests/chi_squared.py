"""Whether integers were drawn from a law."""

import math
from collections.abc import Callable

import numpy as np

from mizzle.grid import Integers


def chi_squared(draws: Integers, chance: Callable[[int], float]) -> tuple[float, int]:
    """χ² of the draws against a law around 0, and the number of its cells: all that expect 10 draws, and the rest."""
    values, counts = np.unique(draws, return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    inside, statistic, expected_inside, cells = 0, 0.0, 0.0, 0
    for size in range(int(np.abs(draws).max()) + 1):
        for value in {size, -size}:
            if (expected := draws.size * chance(value)) >= 10:
                count = found.get(value, 0)
                statistic += (count - expected) ** 2 / expected
                inside, expected_inside, cells = inside + count, expected_inside + expected, cells + 1
    outside = draws.size - expected_inside
    return statistic + (draws.size - inside - outside) ** 2 / outside, cells + 1


def plausible(statistic: float, cells: int) -> bool:
    """Whether χ² lies within five standard deviations of its mean."""
    return abs(statistic - (cells - 1)) < 5 * math.sqrt(2 * (cells - 1))
