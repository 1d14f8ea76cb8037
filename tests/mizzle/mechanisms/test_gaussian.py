"""The noise has exactly the stated law, and its price is never too low."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizzle.mechanisms.gaussian import Gaussian
from tests.chi_squared import chi_squared, plausible

KEY = bytes(range(32))
WEIGHTS = st.integers(0, 64)
BOUNDS = st.integers(2**21, 2**40)
MULTIPLIERS = st.floats(0.01, 100)


def bell(x: float) -> float:
    """The standard normal distribution function."""
    return math.erfc(-x / math.sqrt(2)) / 2


# The law


@pytest.mark.parametrize("sigma", [1, 3, 10, 300])
def test_small_noise_is_a_finely_drawn_gaussian_rounded_to_integers(sigma: int) -> None:
    draws = Gaussian(1.0).noise(KEY, sigma, 1_000_000)
    assert plausible(*chi_squared(draws, lambda x: bell((x + 0.5) / sigma) - bell((x - 0.5) / sigma)))


@pytest.mark.parametrize("sigma", [2**20, 2**28 - 1, 2**28, 2**40 + 12_345, 2**58])
def test_large_noise_has_the_stated_deviation_and_shape(sigma: int) -> None:
    """The distance to the Gaussian (Kolmogorov) and the variance, each within what so many draws allow."""
    count = 1_000_000
    noise = np.sort(Gaussian(1.0).noise(KEY, sigma, count).astype(np.float64)) / sigma
    every = 100
    distance = max(abs(bell(x) - (every * i + 0.5) / count) for i, x in enumerate(noise[::every]))
    assert distance * math.sqrt(count) < 1.95
    assert np.square(noise).mean() == pytest.approx(1, abs=5 * math.sqrt(2 / count))


# The key


def test_the_same_key_gives_the_same_noise_and_another_key_other_noise() -> None:
    mechanism = Gaussian(1.0)
    noise = mechanism.noise(KEY, 2**30, 50)
    assert noise.dtype == np.int64
    assert np.array_equal(noise, mechanism.noise(KEY, 2**30, 50))
    assert not np.array_equal(noise, mechanism.noise(bytes(32), 2**30, 50))


@pytest.mark.parametrize(("key", "sigma"), [(bytes(16), 1), (bytes(32), 0), (bytes(32), -1), (bytes(32), 2**59 + 1)])
def test_noise_refuses_a_short_key_and_a_sigma_out_of_range(key: bytes, sigma: int) -> None:
    with pytest.raises(ValueError, match=r"32 bytes and a σ of 1 … 2\^59"):
        Gaussian(1.0).noise(key, sigma, 1)


# The price


@given(MULTIPLIERS, WEIGHTS, BOUNDS)
def test_sigma_is_rounded_up_to_an_integer(multiplier: float, cap: int, bound: int) -> None:
    exact = Fraction(multiplier) * cap * bound
    assert exact <= Gaussian(multiplier).sigma(cap, bound) < exact + 1


@given(MULTIPLIERS, WEIGHTS, BOUNDS)
def test_a_price_is_the_exact_loss_rounded_up(multiplier: float, weight: int, bound: int) -> None:
    mechanism = Gaussian(multiplier)
    exact = Fraction(weight * bound) ** 2 / mechanism.sigma(64, bound) ** 2 * 2**32
    assert exact <= mechanism.price(weight, 64, bound) < exact + 1


def test_a_price_goes_with_the_square_of_the_weight() -> None:
    mechanism = Gaussian(0.5)
    assert [mechanism.price(weight, 64, 2**21) for weight in (0, 32, 64)] == [0, 2**32, 2**34]


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.inf, math.nan])
def test_a_noise_multiplier_that_promises_nothing_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="finite and above 0"):
        Gaussian(wrong)
