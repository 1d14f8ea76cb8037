"""Server momentum: every mean update goes on acting, less each time [Hsu, Qi, Brown 2019, arXiv:1909.06335, Sec. 4.3].

It works on the noised mean alone, so it is post-processing and costs no privacy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mizzle.grid import Vector


@dataclass(frozen=True)
class Momentum:
    """The strategy of a plan that says `strategy = "momentum"`: v ← β·v + Δ, then θ ← θ + v."""

    beta: float = 0.9

    def __post_init__(self) -> None:
        """Refuse a β with which the velocity would never fade."""
        if not 0 <= self.beta < 1:
            raise ValueError(f"momentum.beta is at least 0 and below 1, got {self.beta}: set it in the [combine] table")

    def apply(self, model: Vector, mean: Vector, memory: Mapping[str, Vector]) -> tuple[Vector, dict[str, Vector]]:
        """The model moved by the velocity, and the velocity (d,)."""
        velocity = self.beta * memory.get("velocity", np.zeros_like(mean)) + mean
        return model + velocity, {"velocity": velocity}
