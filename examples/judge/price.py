"""What an update costs, and what a loss means: μ² in 2^-32, and the exact δ of the Gaussian mechanism.

Unit: a device, over everything it sends. Adjacency: zero-out. No amplification is assumed.
"""

from __future__ import annotations

from math import erfc, exp, log, pi, sqrt
from typing import Final

UNIT: Final = 1 << 32
_FAR: Final = 30.0


def least_loss(weight: int, bound: int, sigma: int) -> int:
    """The loss (w·S/σ)² in units of 2^-32, rounded up; w is the sum of the weights of one device in one release."""
    return -(-((weight * bound) ** 2 * UNIT) // sigma**2)


def delta(epsilon: float, loss: int) -> float:
    """δ(ε) = Φ(μ/2 − ε/μ) − e^ε·Φ(−μ/2 − ε/μ) of a loss μ² [Balle & Wang 2018, arXiv:1805.06530, Theorem 8]."""
    if loss <= 0:
        return 0.0
    mu = sqrt(loss / UNIT)
    return exp(_log_tail(epsilon / mu - mu / 2)) - exp(epsilon + _log_tail(epsilon / mu + mu / 2))


def exceeds(epsilon: float, at: float, loss: int) -> bool:
    """Whether this loss is more than ε at this δ; the last digits of floats are forgiven."""
    return delta(epsilon * (1 + 1e-9), loss) > at * (1 + 1e-6)


def _log_tail(x: float) -> float:
    """The logarithm of P(Z > x) for a standard normal Z; far out by its leading term, from above."""
    return log(erfc(x / sqrt(2)) / 2) if x < _FAR else -x * x / 2 - log(x * sqrt(2 * pi))
