"""FedAdagrad: steps shrink where updates have been large, for ever [Reddi et al. 2021, arXiv:2003.00295, Alg. 2]."""

from collections.abc import Mapping
from dataclasses import dataclass

from mizzle.adaptive import Rates, stepped
from mizzle.grid import Vector


@dataclass(frozen=True)
class Adagrad:
    """The strategy of a plan that says `strategy = "adagrad"`: v ← v + Δ²; the paper takes no momentum with it."""

    learning_rate: float = 0.1
    beta1: float = 0.0
    tau: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse rates that settle nowhere."""
        Rates(self.learning_rate, self.beta1, self.tau)

    def apply(self, model: Vector, mean: Vector, memory: Mapping[str, Vector]) -> tuple[Vector, dict[str, Vector]]:
        """The next model (d,), and the two moments."""
        rates = Rates(self.learning_rate, self.beta1, self.tau)
        return stepped(rates, model, mean, memory, lambda v, square: v + square)
