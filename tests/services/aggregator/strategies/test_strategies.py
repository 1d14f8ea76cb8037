"""The formula of each strategy; what all of them keep to is checked in tests/plugins."""

import numpy as np
import pytest

from mizzle.errors import Misconfigured
from mizzle.grid import Vector
from mizzle.plan import PlugIn
from mizzle.plugins import Strategy
from mizzle.registry import plug_in
from services.aggregator.strategies.fedavg import Fedavg
from services.aggregator.strategies.momentum import Momentum

FOLDER = "services.aggregator.strategies"
RANDOM = np.random.default_rng(3)
MODEL, FIRST, SECOND = (RANDOM.normal(size=50) for _ in range(3))


def test_fedavg_adds_the_mean() -> None:
    assert Fedavg().apply(MODEL, FIRST, {})[0].tolist() == (MODEL + FIRST).tolist()


def test_momentum_goes_on_with_a_part_of_what_it_did_before() -> None:
    first, second, memory = _two_steps(Momentum(beta=0.5))
    assert first.tolist() == (MODEL + FIRST).tolist()
    assert second == pytest.approx(first + SECOND + 0.5 * FIRST)
    assert memory == pytest.approx(SECOND + 0.5 * FIRST)


def test_momentum_without_beta_is_fedavg() -> None:
    assert _as_lists(_two_steps(Momentum(beta=0.0))[:2]) == _as_lists(_two_steps(Fedavg())[:2])


@pytest.mark.parametrize("beta", [-0.1, 1.0, float("nan")])
def test_a_momentum_that_never_fades_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match=r"momentum\.beta is at least 0 and below 1"):
        Momentum(beta=beta)
    with pytest.raises(Misconfigured, match="plug-in 'momentum' does not take these fields"):
        plug_in(FOLDER, PlugIn(name="momentum", fields={"beta": beta}))


def _two_steps(strategy: Strategy) -> list[Vector]:
    first, memory = strategy.apply(MODEL, FIRST, {})
    second, memory = strategy.apply(first, SECOND, memory)
    return [first, second, *memory.values()]


def _as_lists(vectors: list[Vector]) -> list[list[float]]:
    return [list(vector.tolist()) for vector in vectors]
