"""Privacy losses, reckoned again: the price of one update, and the exact ε of a sum of prices."""

from __future__ import annotations

import math
from typing import Final

_UNITS: Final = 2**32
_FAR: Final = 30.0  # erfc is still a normal number here; beyond it the series below has 12 digits


def price(weight: int, bound: int, sigma: int) -> int:
    """μ² = (w·S/σ)² in units of 2^-32, rounded up."""
    return -(-((weight * bound) ** 2) * _UNITS // sigma**2)


def epsilon(mu2: int, delta: float) -> float:
    """The ε at which δ(ε) = Φ(μ/2 − ε/μ) − e^ε·Φ(−μ/2 − ε/μ) [Balle, Wang 2018, arXiv:1805.06530, Thm. 8] is `delta`.

    `mu2` is Σμ² in units of 2^-32. Both terms are kept as logarithms, for e^ε overflows and Φ underflows.
    """
    mu, target = math.sqrt(mu2 / _UNITS), math.log(delta)
    if mu == 0 or _log_delta(mu, 0.0) <= target:
        return 0.0
    low, high = 0.0, 1.0
    while _log_delta(mu, high) > target:
        low, high = high, high * 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _log_delta(mu, middle) > target else (low, middle)
    return high


def _log_delta(mu: float, loss: float) -> float:
    first = _log_phi(mu / 2 - loss / mu)
    share = loss + _log_phi(-mu / 2 - loss / mu) - first
    return first + math.log1p(-math.exp(share)) if share < 0 else -math.inf


def _log_phi(x: float) -> float:
    """Log Φ(x)."""
    if x > -_FAR:
        return math.log(math.erfc(-x / math.sqrt(2)) / 2)
    series = 1 - x**-2 + 3 * x**-4 - 15 * x**-6 + 105 * x**-8
    return -x * x / 2 - math.log(-x * math.sqrt(2 * math.pi)) + math.log(series)
