"""FedOpt's optimizers, against the paper's formulas written out, and the equalities between them."""

import math

import numpy as np
import pytest

from mizzle.grid import Vector
from mizzle.plugins import Strategy
from services.aggregator.strategies.adagrad import Adagrad
from services.aggregator.strategies.adam import Adam
from services.aggregator.strategies.fedavg import Fedavg
from services.aggregator.strategies.momentum import Momentum
from services.aggregator.strategies.yogi import Yogi

RANDOM = np.random.default_rng(11)
MODEL = RANDOM.normal(size=20)
MEANS = [RANDOM.normal(size=20) / 10 for _ in range(4)]
ETA, BETA1, BETA2, TAU = 0.1, 0.9, 0.99, 1e-3


def run(strategy: Strategy) -> Vector:
    model, memory = MODEL, dict[str, Vector]()
    for mean in MEANS:
        model, memory = strategy.apply(model, mean, memory)
    return model


def by_hand(second: object, beta1: float = BETA1) -> list[float]:
    """Algorithm 2 of Reddi et al., one coordinate at a time."""
    found = []
    for place, start in enumerate(MODEL.tolist()):
        x, m, v = start, 0.0, TAU**2
        for mean in MEANS:
            delta = float(mean[place])
            m = beta1 * m + (1 - beta1) * delta
            v = second(v, delta**2)  # type: ignore[operator]
            x += ETA * m / (math.sqrt(v) + TAU)
        found.append(x)
    return found


def test_adam_is_the_papers() -> None:
    assert run(Adam()) == pytest.approx(by_hand(lambda v, s: BETA2 * v + (1 - BETA2) * s))


def test_yogi_is_the_papers() -> None:
    assert run(Yogi()) == pytest.approx(by_hand(lambda v, s: v - (1 - BETA2) * s * math.copysign(1, v - s)))


def test_adagrad_is_the_papers() -> None:
    assert run(Adagrad()) == pytest.approx(by_hand(lambda v, s: v + s, beta1=0.0))


def test_the_degree_of_adaptivity_is_pinned() -> None:
    """REFERENCES 5: τ decides how small a step still counts, so a default that moves changes every result."""
    assert {kind().tau for kind in (Adam, Yogi, Adagrad)} == {1e-3}


def test_sgd_with_a_rate_of_one_is_fedavg_bit_for_bit() -> None:
    assert run(Momentum(beta=0.0, learning_rate=1.0)).tolist() == run(Fedavg()).tolist()


def test_a_server_learning_rate_scales_every_step_of_sgd() -> None:
    assert run(Momentum(beta=0.0, learning_rate=0.5)) - MODEL == pytest.approx((run(Fedavg()) - MODEL) / 2)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Adam(learning_rate=0.0),
        lambda: Adam(beta1=1.0),
        lambda: Adam(beta2=1.0),
        lambda: Yogi(tau=0.0),
        lambda: Yogi(beta2=-0.1),
        lambda: Adagrad(tau=math.nan),
        lambda: Momentum(learning_rate=0.0),
    ],
)
def test_rates_that_settle_nowhere_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"\[combine\]"):
        wrong()  # type: ignore[operator]
