"""One step of an adaptive server optimizer [Reddi et al. 2021, arXiv:2003.00295, Alg. 2], whatever its second moment.

    m ← β1·m + (1 − β1)·Δ,   v ← as the optimizer says,   θ ← θ + η·m/(√v + τ)

The mean update Δ stands for the negative gradient. m begins at 0 and v at τ², the smallest that the paper allows. All
of it works on the noised mean alone, so it is post-processing and costs no privacy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mizzle.grid import Vector

    SecondMoment = Callable[[Vector, Vector], Vector]
    """The next v, of v and Δ² (d,)."""


@dataclass(frozen=True)
class Rates:
    """The step's settings: η, β1 and τ, the degree of adaptivity."""

    learning_rate: float
    beta1: float
    tau: float

    def __post_init__(self) -> None:
        """Refuse rates with which a step would be none, or would never settle."""
        if not (self.learning_rate > 0 and 0 <= self.beta1 < 1 and self.tau > 0):
            raise ValueError(
                "a server optimizer takes learning_rate above 0, beta1 at least 0 and below 1, tau above 0; got"
                f" {self.learning_rate}, {self.beta1}, {self.tau}: set them in the plan's [combine] table"
            )


def stepped(
    rates: Rates, model: Vector, mean: Vector, memory: Mapping[str, Vector], second_moment: SecondMoment
) -> tuple[Vector, dict[str, Vector]]:
    """The next model (d,), and the moments "m" and "v" (d,) to be remembered."""
    start = np.full_like(model, rates.tau**2)
    first = rates.beta1 * memory.get("m", np.zeros_like(model)) + (1 - rates.beta1) * mean
    second = second_moment(memory.get("v", start), np.square(mean))
    moved = model + rates.learning_rate * first / (np.sqrt(second) + rates.tau)
    return moved, {"m": first, "v": second}


def refuse_beta2(beta2: float) -> None:
    """Return if the second moment fades, and does not vanish at once.

    Raises:
        ValueError: it does not.
    """
    if not 0 <= beta2 < 1:
        raise ValueError(f"beta2 is at least 0 and below 1, got {beta2}: set it in the plan's [combine] table")
