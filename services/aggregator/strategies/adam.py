"""FedAdam: steps shrink where updates have been large, and forget [Reddi et al. 2021, arXiv:2003.00295, Alg. 2]."""

from collections.abc import Mapping
from dataclasses import dataclass

from mizzle.adaptive import Rates, refuse_beta2, stepped
from mizzle.grid import Vector


@dataclass(frozen=True)
class Adam:
    """The strategy of a plan that says `strategy = "adam"`: v ← β2·v + (1 − β2)·Δ², without bias correction."""

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
        return stepped(rates, model, mean, memory, lambda v, square: self.beta2 * v + (1 - self.beta2) * square)
