"""Every strategy, by being found in its folder, keeps what the aggregator builds on; then each its own formula."""

import numpy as np
import pytest
from safetensors.numpy import load, save

from mizzle.errors import Misconfigured
from mizzle.grid import Vector
from mizzle.plan import PlugIn
from mizzle.plugins import Strategy
from mizzle.registry import plug_in
from services.aggregator.strategies.fedavg import Fedavg
from services.aggregator.strategies.momentum import Momentum
from tests.makers import plug_ins

FOLDER = "services.aggregator.strategies"
RANDOM = np.random.default_rng(3)
MODEL, FIRST, SECOND = (RANDOM.normal(size=50) for _ in range(3))


@pytest.fixture(params=plug_ins(FOLDER))
def strategy(request: pytest.FixtureRequest) -> Strategy:
    found: Strategy = plug_in(FOLDER, PlugIn(name=request.param))
    return found


def test_every_strategy_is_found() -> None:
    assert plug_ins(FOLDER) == ["adagrad", "adam", "fedavg", "momentum", "yogi"]


def test_a_strategy_without_memory_stays_where_the_mean_is_zero(strategy: Strategy) -> None:
    model, _ = strategy.apply(MODEL, np.zeros(50), {})
    assert model.tolist() == MODEL.tolist()


def test_a_strategy_begins_by_going_where_the_mean_points(strategy: Strategy) -> None:
    model, _ = strategy.apply(MODEL, FIRST, {})
    assert float((model - MODEL) @ FIRST) > 0


def test_a_strategy_leaves_what_it_is_given_as_it_is(strategy: Strategy) -> None:
    _, memory = strategy.apply(MODEL, FIRST, {})
    given = [MODEL.copy(), SECOND.copy(), *(value.copy() for value in memory.values())]
    strategy.apply(MODEL, SECOND, memory)
    assert _as_lists([MODEL, SECOND, *memory.values()]) == _as_lists(given)


def test_a_strategy_does_the_same_for_the_same(strategy: Strategy) -> None:
    assert _as_lists(_two_steps(strategy)) == _as_lists(_two_steps(strategy))


def test_what_a_strategy_remembers_survives_the_file_it_is_kept_in(strategy: Strategy) -> None:
    model, memory = strategy.apply(MODEL, FIRST, {})
    stored = load(save(memory))
    assert strategy.apply(model, SECOND, stored)[0].tolist() == strategy.apply(model, SECOND, memory)[0].tolist()


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
