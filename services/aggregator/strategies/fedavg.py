"""Federated averaging: the mean update, as it is [McMahan et al. 2017, arXiv:1602.05629, Algorithm 1]."""

from collections.abc import Mapping
from dataclasses import dataclass

from mizzle.grid import Vector


@dataclass(frozen=True)
class Fedavg:
    """The strategy of a plan that says `strategy = "fedavg"`: θ ← θ + Δ, with nothing to remember."""

    def apply(self, model: Vector, mean: Vector, memory: Mapping[str, Vector]) -> tuple[Vector, dict[str, Vector]]:
        """The model moved by the mean, and the memory as it was."""
        return model + mean, dict(memory)
