"""What the wrists reach each by itself, to see what training together is worth: `python -m examples.alone`.

The same start, step and batch size as together, and the epochs of a wrist that is invited to every window.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file

from examples.watch import PLAN, TRAINING, held_out, wrist

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from examples.watch import Examples

    Weights = Mapping[str, NDArray[np.float32]]


def alone(settings: Mapping[str, Any], epochs: int) -> float:
    """The mean accuracy of the training wrists, each trained alone for `epochs` by the plan's [train] `settings`."""
    start = load_file(PLAN.with_name(tomllib.loads(PLAN.read_text())["model"]))
    reached = [accuracy(trained(start, wrist(name), settings, epochs)) for name in TRAINING]
    return float(np.mean(reached))


def accuracy(weights: Weights) -> float:
    """The share of the held-out people's windows that the model labels rightly."""
    inputs, labels = held_out()
    _, scores = _forward(weights, inputs)
    return float((scores.argmax(axis=1) == labels).mean())


def trained(weights: Weights, examples: Examples, settings: Mapping[str, Any], epochs: int) -> Weights:
    """`weights` after `epochs` of stochastic gradient descent on `examples`, shuffled alike each time."""
    random = np.random.default_rng(len(examples[1]))
    for _ in range(epochs):
        order = random.permutation(len(examples[1]))
        for some in np.split(order, range(settings["batch_size"], len(order), settings["batch_size"])):
            weights = _stepped(weights, examples[0][some], examples[1][some], settings["learning_rate"])
    return weights


def _stepped(weights: Weights, inputs: NDArray[np.float32], labels: NDArray[np.int64], rate: float) -> Weights:
    """`weights` one step down the gradient of their mean cross-entropy."""
    hidden, scores = _forward(weights, inputs)
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    error = (odds / odds.sum(axis=1, keepdims=True) - _ONE_HOT[labels]) / len(labels)
    slope = error @ weights["2.weight"] * (hidden > 0)
    first = {"0.weight": slope.T @ inputs, "0.bias": slope.sum(axis=0)}
    second = {"2.weight": error.T @ hidden, "2.bias": error.sum(axis=0)}
    return {name: weights[name] - rate * gradient for name, gradient in (first | second).items()}


def _forward(weights: Weights, inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the hidden layer says of each input, and the score of each exercise."""
    hidden = np.maximum(inputs @ weights["0.weight"].T + weights["0.bias"], 0)
    return hidden, hidden @ weights["2.weight"].T + weights["2.bias"]


_ONE_HOT = np.eye(7, dtype=np.float32)


if __name__ == "__main__":
    plan = tomllib.loads(PLAN.read_text())
    print(f"{alone(plan['train'], plan['window']['windows'] * plan['train']['epochs']):.3f}")
