"""Exact results of the rules on two quadratics with the optimum 3: f1 = x²/2 and f2 = 3(x − 4)²/2 (REFERENCES 5)."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save

from mizzle.device.effects import Train
from mizzle.device.task import Task
from mizzle.grid import Vector
from services.aggregator.strategies.fedavg import Fedavg
from tests.mizzle.device.federation import Federation

CURVATURES, CENTRES = (1.0, 3.0), (0.0, 4.0)
RATE = 0.05


def settled(steps: tuple[int, int], proximal: float | None = None, rounds: int = 400) -> float:
    """Where FedAvg settles with so many full-batch local steps on each of the two, by the library's own parts."""
    model: Vector = np.zeros(1)
    for _ in range(rounds):
        pairs = zip(CURVATURES, CENTRES, steps, strict=True)
        ends = [trained(float(model[0]), curvature, centre, many, proximal) for curvature, centre, many in pairs]
        mean = sum(ends) / len(ends) - model
        model, _ = Fedavg().apply(model, mean, {})
    return float(model[0])


def trained(start: float, curvature: float, centre: float, steps: int, proximal: float | None) -> Vector:
    task = given(start, "" if proximal is None else f"proximal = {proximal}")
    weights = {"x": np.array([start])}
    for _ in range(steps):
        gradient = curvature * (weights["x"] - centre) + (0.0 if proximal is None else task.pull(weights)["x"])
        weights = {"x": weights["x"] - RATE * gradient}
    return weights["x"]


def given(start: float, train: str) -> Task:
    barn = replace(Federation(), model=save({"x": np.array([start], np.float32)}), train=train)
    task = Task(Train(barn.invite("pump-7"), barn.plan, barn.model), np.random.default_rng(0))
    task.__dict__["_start"] = {"x": np.array([start])}  # in 64 bits, as the reference has it
    return task


def test_fedavg_settles_beside_the_optimum() -> None:
    assert settled((10, 10)) == pytest.approx(2.667330, abs=1e-6)


def test_fedavg_with_unequal_work_settles_towards_the_busier() -> None:
    assert settled((1, 9)) == pytest.approx(3.755616, abs=1e-6)


def test_fedprox_without_a_pull_is_fedavg() -> None:
    assert settled((10, 10), proximal=0.0, rounds=20) == settled((10, 10), rounds=20)


def test_fedprox_settles_nearer_to_the_optimum_the_more_it_pulls() -> None:
    ends = [settled((10, 10), proximal=strength) for strength in (0.0, 1.0, 10.0)]
    assert ends[0] < ends[1] < ends[2] < 3.0
