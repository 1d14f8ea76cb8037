"""ε is exact, never too low, and the stop is where it says."""

import itertools
import math

import pytest
from absl import logging
from dp_accounting.dp_event import GaussianDpEvent
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from mizzle.accounting import MU2_UNIT, delta_of, epsilon, most, sentence
from mizzle.mechanisms.gaussian import Gaussian

logging.set_verbosity(logging.ERROR)

ONE = round(1 / MU2_UNIT)
LOSSES = st.integers(1, 200_000 * ONE)
DELTAS = st.floats(1e-12, 0.5)


@pytest.mark.parametrize(
    ("mu2", "delta", "exact"),
    [
        (ONE, 1e-5, 4.377178095681195),  # REFERENCES 3: σ = 1, one step
        (2 * ONE, 1e-5, 6.572970067030797),  # REFERENCES 3: σ = 5, fifty steps
        # The others by bisection of the closed form in 60 digits.
        (1, 1e-9, 5.296753016153432e-05),
        (2**20, 1e-6, 0.054439631187643056),
        (ONE, 0.3, 0.27661739889684955),
        (36 * ONE, 1e-5, 42.83600810268184),
        (100 * ONE, 1e-10, 112.84032670423223),
        (400 * ONE, 1e-5, 284.3918494977425),
        (200_000 * ONE, 1e-5, 101906.32188618307),
        (200_000 * ONE, 0.9, 99425.87128267204),
    ],
)
def test_epsilon_is_the_closed_form(mu2: int, delta: float, exact: float) -> None:
    assert epsilon(mu2, delta) == pytest.approx(exact, rel=1e-14, abs=1e-12)


@pytest.mark.parametrize(("sigma", "steps", "delta"), [(1.0, 1, 1e-5), (5.0, 50, 1e-5), (0.8, 3, 1e-6)])
def test_epsilon_agrees_with_an_independent_accountant(sigma: float, steps: int, delta: float) -> None:
    """Google's privacy loss distributions, which round the loss up on a lattice of 1e-4."""
    oracle = PLDAccountant()
    oracle.compose(GaussianDpEvent(sigma), steps)
    mu2 = steps * Gaussian(sigma).price(1, 1, 10**6)
    assert epsilon(mu2, delta) == pytest.approx(oracle.get_epsilon(delta), abs=1e-4)


def test_fifty_prices_add_up_to_the_exact_epsilon_and_no_less() -> None:
    total = 50 * Gaussian(5.0).price(64, 64, 2**21)
    assert 6.572970067030797 <= epsilon(total, 1e-5) < 6.572970067030797 + 1e-7


def test_losses_add_up_whatever_their_order() -> None:
    mechanism = Gaussian(0.7)
    prices = [mechanism.price(weight, 64, 2**21) for weight in (64, 45, 36, 32)]
    assert {sum(order) for order in itertools.permutations(prices)} == {sum(prices)}


@given(LOSSES, LOSSES, DELTAS)
def test_epsilon_grows_with_what_was_released(one: int, more: int, delta: float) -> None:
    assert epsilon(one, delta) <= epsilon(one + more, delta)


@given(LOSSES, DELTAS, DELTAS)
def test_epsilon_falls_as_delta_grows(mu2: int, one: float, other: float) -> None:
    assert epsilon(mu2, max(one, other)) <= epsilon(mu2, min(one, other))


@given(st.integers(2**16, 200 * ONE), st.floats(1e-12, 0.1))
def test_epsilon_is_the_smallest_that_keeps_delta(mu2: int, delta: float) -> None:
    mu, spent = math.sqrt(mu2 * MU2_UNIT), epsilon(mu2, delta)
    assert delta_of(mu, spent + 1e-9) <= delta
    assert spent == 0 or delta_of(mu, max(0.0, spent - 1e-9)) > delta * (1 - 1e-12)


def test_nothing_released_costs_nothing() -> None:
    assert epsilon(0, 1e-5) == 0
    assert delta_of(0.0, 0.0) == 0


def test_a_loss_that_delta_covers_alone_has_epsilon_zero() -> None:
    """δ(0) = 2Φ(μ/2) − 1, which is .3829 for μ = 1."""
    assert epsilon(ONE, 0.383) == 0
    assert epsilon(ONE, 0.3829) > 0


@given(st.floats(0, 1e5), st.floats(1e-12, 0.1))
@settings(max_examples=25)
def test_the_stop_is_the_last_loss_within_the_budget(budget: float, delta: float) -> None:
    stop = most(budget, delta)
    assert epsilon(stop, delta) <= budget < epsilon(stop + 1, delta)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_a_delta_that_promises_nothing_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match="δ lies between 0 and 1"):
        epsilon(ONE, delta)


@pytest.mark.parametrize("budget", [-1.0, math.inf, math.nan])
def test_a_budget_without_an_end_is_refused(budget: float) -> None:
    with pytest.raises(ValueError, match="a budget is a finite ε"):
        most(budget, 1e-5)


def test_a_negative_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0, got -1"):
        epsilon(-1, 1e-5)


def test_no_epsilon_is_shown_without_its_sentence() -> None:
    """Unit, relation, δ, accountant, sampling and trust, and the number rounded against us."""
    assert sentence(207.361, 1e-5) == (
        "ε = 207.37 at δ = 1e-05 (+ 1.2e-12 a release) for one device, whose contents might as well have been zero;"
        " that it took part is not protected. Counted by the exact Gaussian accountant, with no amplification by"
        " sampling claimed, in the central model: the services see each clipped update before noise is added."
    )
