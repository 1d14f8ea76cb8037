"""FedYogi: as FedAdam, but the second moment never leaps [Reddi et al. 2021, arXiv:2003.00295, Alg. 2]."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mizzle.adaptive import Rates, refuse_beta2, stepped
from mizzle.grid import Vector


@dataclass(frozen=True)
class Yogi:
    """The strategy of a plan that says `strategy = "yogi"`: v ← v − (1 − β2)·Δ²·sign(v − Δ²).

    The second moment moves towards Δ² by a share of Δ², however far it is.
    """

    learning_rate: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse rates that settle nowhere."""
        refuse_beta2(self.beta2)
        Rates(self.learning_rate, self.beta1, self.tau)

    def apply(self, model: Vector, mean: Vector, memory: Mapping[str, Vector]) -> tuple[Vector, dict[str, Vector]]:
        """The next model (d,), and the two moments."""
        rates = Rates(self.learning_rate, self.beta1, self.tau)
        return stepped(rates, model, mean, memory, self._second)

    def _second(self, v: Vector, square: Vector) -> Vector:
        moved: Vector = v - (1 - self.beta2) * square * np.sign(v - square)
        return moved
