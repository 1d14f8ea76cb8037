"""An update is as long as it may be, or it is not: m·‖q‖₂ ≤ S."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Norm:
    """The score of a plan whose scores name `norm`; it is asked whether the plan names it or not."""

    def score(self, norm: float, history: Sequence[float]) -> float:
        """The norm itself, a share of the bound S."""
        del history
        return norm

    def refuses(self, score: float) -> str | None:
        """What no honest device sends: it has fitted its update to the bound."""
        return f"its norm is {score:.9g} times the bound" if score > 1 else None
