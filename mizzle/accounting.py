"""What a device has given away: μ² of Gaussian releases, and the exact ε that they amount to.

An unamplified Gaussian release of sensitivity wS and standard deviation σ is μ-GDP with μ = wS/σ, and releases add as
Σμ² in whatever order [Dong, Roth, Su 2019, arXiv:1905.02383, Cor. 3.3], also when each is chosen after seeing the last,
provided the sum is stopped at a bound set before [Smith, Thakurta 2022, arXiv:2210.17520]. Sums are integers in units
of 2^-32, each price rounded up, so they do not depend on their order and never understate.

The pair (ε, δ) is exact: δ(ε) = Φ(μ/2 − ε/μ) − e^ε·Φ(−μ/2 − ε/μ) [Balle, Wang 2018, arXiv:1805.06530, Thm. 8]. With
a = ε/μ − μ/2 and Mills' ratio R(x) = Φ(−x)/φ(x) the second term is φ(a)·R(a + μ), which neither overflows nor
underflows however large ε is.
"""

import math
from typing import Final

MU2_UNIT: Final = 2.0**-32

_FAR: Final = 10.0  # from here on 30 terms of the continued fraction are exact to the last bits; erfc ends at 38


def epsilon(mu2: int, delta: float) -> float:
    """The smallest ε ≥ 0 for which Σμ² = mu2 units is (ε, δ)-DP, never more than 1e-9 too low for ε up to 1e5.

    Raises:
        ValueError: δ is not between 0 and 1, or mu2 is negative.
    """
    _check(mu2, delta)
    mu = math.sqrt(mu2 * MU2_UNIT)
    if delta_of(mu, 0.0) <= delta:
        return 0.0
    loss = mu * (_threshold(mu, delta) + mu / 2)
    return max(0.0, loss) * (1 + 2**-50)  # a few roundings, all upwards


def most(budget: float, delta: float) -> int:
    """The largest Σμ², in units, whose `epsilon` does not exceed the budget: the stop, as an integer to compare with.

    Raises:
        ValueError: the budget is not a finite number of at least 0, or δ not between 0 and 1.
    """
    if not (math.isfinite(budget) and budget >= 0):
        raise ValueError(f"a budget is a finite ε of at least 0, got {budget}: correct the plan's [privacy] table")
    beyond = 1
    while epsilon(beyond, delta) <= budget:
        beyond *= 2
    within = beyond // 2
    while beyond - within > 1:
        middle = (within + beyond) // 2
        if epsilon(middle, delta) <= budget:
            within = middle
        else:
            beyond = middle
    return within


def delta_of(mu: float, epsilon: float) -> float:
    """δ(ε) of a μ-GDP mechanism, for ε ≥ 0."""
    if mu == 0.0:
        return 0.0
    return _delta_at(epsilon / mu - mu / 2, mu)


def sentence(epsilon: float, delta: float) -> str:
    """The sentence that goes with every ε that is shown: unit, relation, δ, accountant, sampling, trust.

    ε is rounded up to two decimals.
    """
    return f"ε = {math.ceil(epsilon * 100) / 100:.2f} {meaning(delta)}"


def meaning(delta: float) -> str:
    """What an ε at this δ means; 1.2e-12 is the distance of the discrete noise to the Gaussian."""
    return (
        f"at δ = {delta:g} (+ 1.2e-12 a release) for one device, whose contents might as well have been"
        " zero; that it took part is not protected. Counted by the exact Gaussian accountant, with no amplification by"
        " sampling claimed, in the central model: the services see each clipped update before noise is added."
    )


NOTHING_CLAIMED: Final = (
    "No privacy is claimed: the plan adds no noise. Updates are clipped and summed, and whoever compares two releases"
    " may learn what one device sent."
)
"""The sentence in place of an ε."""


def _check(mu2: int, delta: float) -> None:
    if mu2 < 0:
        raise ValueError(f"Σμ² is at least 0, got {mu2}: a charge is never taken back")
    if not 0 < delta < 1:
        raise ValueError(f"δ lies between 0 and 1, got {delta}: correct the plan's [privacy] table")


def _threshold(mu: float, delta: float) -> float:
    """The smallest float a with δ(a) ≤ delta, by bisection until no float lies between."""
    low, high = -mu / 2, 1.0
    while _delta_at(high, mu) > delta:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _delta_at(middle, mu) > delta else (low, middle)
    return high


def _delta_at(a: float, mu: float) -> float:
    """Φ(−a) − φ(a)·R(a + μ), for a ≥ −μ/2."""
    return max(0.0, math.erfc(a / math.sqrt(2)) / 2 - _density(a) * _mills(a + mu))


def _density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _mills(x: float) -> float:
    """R(x) = Φ(−x)/φ(x) for x ≥ 0; far out Laplace's continued fraction 1/(x + 1/(x + 2/(x + 3/(x + …))))."""
    if x < _FAR:
        return math.erfc(x / math.sqrt(2)) / 2 / _density(x)
    tail = x
    for term in range(30, 0, -1):
        tail = x + term / tail
    return 1 / tail
