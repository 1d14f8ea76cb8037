"""An update much longer than its own device's were: a changed sensor, a broken trainer, or somebody else at the key.

A device is compared with itself alone. What other devices sent decides nothing about it, so the sensitivity of the
sum stays what it was (DESIGN 13).
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class History:
    """The score of a plan whose scores name `history`.

    An update may be `factor` times as long as the median of its device's accepted ones, which counts as `least` of the
    bound if it is shorter. The first `after` updates of a device are not compared.
    """

    factor: float = 10.0
    least: float = 0.01
    after: int = 4

    def score(self, norm: float, history: Sequence[float]) -> float:
        """How many times the longest that its past allows this norm is; 0 while there is too little of a past."""
        if len(history) < self.after:
            return 0.0
        return norm / (self.factor * max(statistics.median(history), self.least))

    def refuses(self, score: float) -> str | None:
        """A norm out of all proportion to the device's own past."""
        return f"its norm is {score * self.factor:.3g} times its device's usual one" if score > 1 else None
