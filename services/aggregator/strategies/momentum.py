"""Server momentum: every mean update goes on acting, less each time [Hsu, Qi, Brown 2019, arXiv:1909.06335, Sec. 4.3].

It works on the noised mean alone, so it is post-processing and costs no privacy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mizzle.grid import Vector


@dataclass(frozen=True)
class Momentum:
    """The strategy of a plan that says `strategy = "momentum"`: v ← β·v + Δ, then θ ← θ + η·v.

    With β = 0 it is the FedSGD server of FedOpt, and with η = 1 besides it is FedAvg.
    """

    beta: float = 0.9
    learning_rate: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a β with which the velocity would never fade, and an η that goes backwards."""
        if not 0 <= self.beta < 1:
            raise ValueError(f"momentum.beta is at least 0 and below 1, got {self.beta}: set it in the [combine] table")
        if not self.learning_rate > 0:
            raise ValueError(f"momentum.learning_rate is above 0, got {self.learning_rate}: set it in [combine]")

    def apply(self, model: Vector, mean: Vector, memory: Mapping[str, Vector]) -> tuple[Vector, dict[str, Vector]]:
        """The model moved by the velocity, and the velocity (d,)."""
        velocity = self.beta * memory.get("velocity", np.zeros_like(model)) + mean
        return model + self.learning_rate * velocity, {"velocity": velocity}
