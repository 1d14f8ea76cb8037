"""Every draw has the stated probability: integers decide, right to the last bit, and floats decide nothing."""

import math
from collections.abc import Iterable
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizzle import discrete_gaussian
from mizzle.discrete_gaussian import draw
from mizzle.keystream import Keystream, Words
from tests.chi_squared import chi_squared, plausible

KEY = bytes(range(32))
ONES = 2**64 - 1
SIGMAS = st.integers(64, 2**59)


class Given(Keystream):
    """Words that a test wrote down."""

    def __init__(self, words: Iterable[int]) -> None:
        self._left = iter(words)

    def words(self, count: int) -> Words:
        return np.array([next(self._left) for _ in range(count)], np.uint64)

    def word(self) -> int:
        return next(self._left)


@pytest.mark.parametrize("sigma", [64, 100, 127, 128, 200, 1000])
def test_draws_follow_the_exact_probabilities(sigma: int) -> None:
    """Each integer is its own cell; with σ ≥ 128 low bits and trials take part."""
    total = sum(math.exp(-x * x / (2 * sigma * sigma)) for x in range(-12 * sigma, 12 * sigma + 1))
    draws = draw(Keystream(KEY), sigma, 1_000_000)
    assert plausible(*chi_squared(draws, lambda x: math.exp(-x * x / (2 * sigma * sigma)) / total))


def test_low_bits_of_large_draws_are_those_of_the_law() -> None:
    """Uniform, as σ is so much larger than the modulus."""
    found = np.bincount(draw(Keystream(KEY), 2**40 + 7, 1_000_000) % 256, minlength=256)
    expected = 1_000_000 / 256
    assert plausible(((found - expected) ** 2 / expected).sum(), found.size)


# Heights


def fraction(sigma: int, height: int) -> Decimal:
    """P(height ≤ h) by the decimal module's correctly rounded exponential, to 80 digits."""
    with localcontext(prec=80):
        steps = Decimal(sigma) / 2 ** (sigma.bit_length() - 7)
        bells = [(-Decimal(h * h) / (2 * steps * steps)).exp() for h in range(int(20 * steps))]
        return sum(bells[: height + 1], Decimal(0)) / sum(bells, Decimal(0))


@pytest.mark.parametrize("bits", [64, 128])
@pytest.mark.parametrize("sigma", [64, 127, 2**28 + 1, 2**59])
def test_a_limit_is_right_to_its_last_bit(sigma: int, bits: int) -> None:
    limits = discrete_gaussian._limits(sigma, bits)
    for height in (0, 1, 7, 64, 500, 800):
        with localcontext(prec=80):
            assert limits[height] == int(fraction(sigma, height) * 2**bits)
    assert limits[-1] == 2**bits - 1
    assert limits == sorted(limits)


def test_limits_that_more_bits_would_change_are_computed_with_more_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval is made so wide that the first answer cannot stand."""
    right = discrete_gaussian._limits(1000, 64)
    exact, guards = discrete_gaussian._cumulative, []

    def doubtful(sigma: int, bits: int, guard: int) -> tuple[list[int], list[int]]:
        guards.append(guard)
        low, high = exact(sigma, bits, guard)
        return (low, high) if guard > 64 else (low, [high[0] + 1, *high[1:]])

    monkeypatch.setattr(discrete_gaussian, "_cumulative", doubtful)
    assert discrete_gaussian._limits(1000, 64)[: len(right)] == right
    assert guards == [64, 128]


@given(SIGMAS, st.lists(st.integers(0, ONES), max_size=50), st.data())
def test_the_guide_says_what_the_limits_say(sigma: int, words: list[int], data: st.DataObject) -> None:
    limits = discrete_gaussian._limits(sigma, 64)
    near = data.draw(st.sampled_from([limit for limit in limits if limit < ONES]))
    words = [word for word in (*words, near - 1, near + 1, 0) if word not in limits]
    found = discrete_gaussian._heights(Given(words), sigma, len(words))
    assert found.tolist() == [sum(limit <= word for limit in limits) for word in words]


@given(SIGMAS, st.data())
def test_a_word_that_equals_a_limit_is_decided_by_the_next(sigma: int, data: st.DataObject) -> None:
    height = data.draw(st.integers(0, 400))
    limit = discrete_gaussian._limits(sigma, 64)[height]
    finer = discrete_gaussian._limits(sigma, 128)[height]
    assert finer >> 64 == limit
    rest = finer & ONES
    assert discrete_gaussian._heights(Given([limit, rest - 1]), sigma, 1).tolist() == [height]
    assert discrete_gaussian._heights(Given([limit, rest + 1]), sigma, 1).tolist() == [height + 1]


def test_a_draw_beyond_sixteen_sigma_says_that_the_source_is_broken() -> None:
    with pytest.raises(OverflowError, match="beyond 16σ"):
        draw(Given([ONES] * 100), 2**59, 1)


# Trials


@given(SIGMAS, st.integers(0, 1500), st.integers(0, 2**53), st.integers(-2, 2))
def test_the_first_trial_is_never_decided_by_floats_that_could_be_wrong(
    sigma: int, height: int, low: int, off: int
) -> None:
    """Words at the very edge: what floats let pass must be kept by integers too, on the first trial."""
    shift = discrete_gaussian._shift(sigma)
    low %= 1 << shift
    part, whole = low * ((height << shift + 1) + low), 2 * sigma * sigma
    word = min(max((part << 64) // whole + off, 0), ONES)
    steep = np.array([height << shift])
    happened = discrete_gaussian._happens(Given([ONES] * 9), word, part, whole)
    kept = discrete_gaussian._survivors(Given([word, *[ONES] * 9]), sigma, steep, np.array([low]))
    assert kept.tolist() == [not happened]


def test_an_undecided_trial_is_decided_by_more_bits() -> None:
    """A third is 0.0101… in binary: 64 bits agree with it, the next ones tell."""
    third = 2**64 // 3
    happens = discrete_gaussian._happens
    assert happens(Given([]), third - 1, 1, 3)
    assert not happens(Given([]), third + 1, 1, 3)
    assert happens(Given([third - 1]), third, 1, 3)
    assert not happens(Given([third, third + 1]), third, 1, 3)


def test_trials_keep_with_the_exponential_of_the_exponent() -> None:
    words = Keystream(KEY)
    kept = sum(discrete_gaussian._survives(words, words.word(), 3, 4) for _ in range(100_000))
    chance = math.exp(-0.75)
    assert abs(kept / 100_000 - chance) < 5 * math.sqrt(chance * (1 - chance) / 100_000)


def test_zero_comes_once_and_not_with_both_signs() -> None:
    """Place words with the last bit set are negative; a negative nought is thrown away."""
    nought, minus, plus = [0], [1], [0]
    first = Given([*nought * 10, *minus * 10, *[ONES] * 10, *nought * 10, *plus * 10, *[ONES] * 10])
    assert draw(first, 64, 2).tolist() == [0, 0]


@pytest.mark.parametrize("sigma", [0, 63, 2**59 + 1])
def test_a_sigma_out_of_range_is_refused(sigma: int) -> None:
    with pytest.raises(ValueError, match=r"64 … 2\^59"):
        draw(Keystream(KEY), sigma, 1)
