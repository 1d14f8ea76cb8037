"""A perceptron with one hidden layer in numpy: its first weights, a device's training, its accuracy.

The tensors are named as torch names those of `Sequential(Linear, ReLU, Linear)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from mizzle.model import named

if TYPE_CHECKING:
    from mizzle.device.task import Task

Examples = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Inputs of shape (n, inputs), and labels of shape (n,)."""

NAMES = ("0.weight", "0.bias", "2.weight", "2.bias")


def first_weights(inputs: int, hidden: int, classes: int, random: np.random.Generator) -> bytes:
    """A model to begin with: weights of deviation √(2/inputs), biases of zero [He et al. 2015, arXiv:1502.01852]."""
    first, second = _layer(inputs, hidden, random), _layer(hidden, classes, random)
    return save(dict(zip(NAMES, (*first, *second), strict=True)))


def trained(task: Task, examples: Examples) -> dict[str, NDArray[Any]]:
    """What plain SGD makes of the task's weights, by its `epochs`, `batch_size` and `learning_rate`."""
    inputs, labels = examples
    first, bias, second, offset = (task.weights[name] for name in NAMES)
    targets = np.eye(len(offset), dtype=np.float32)[labels]
    rate = np.float32(str(task.settings["learning_rate"]))
    for some, wanted in task.batches(inputs, targets):
        hidden = np.maximum(some @ first.T + bias, 0)
        odds = hidden @ second.T + offset
        odds = np.exp(odds - odds.max(axis=1, keepdims=True))
        step = rate / np.float32(len(wanted)) * (wanted - odds / odds.sum(axis=1, keepdims=True))
        back = (step @ second) * (hidden > 0)
        first += back.T @ some
        bias += back.sum(axis=0)
        second += step.T @ hidden
        offset += step.sum(axis=0)
    return dict(zip(NAMES, (first, bias, second, offset), strict=True))


def accuracy(model: bytes, examples: Examples) -> float:
    """The share of the examples that the safetensors file `model` takes for what they are."""
    inputs, labels = examples
    weights = named(model)
    first, bias, second, offset = (weights[name] for name in NAMES)
    said = np.maximum(inputs @ first.T + bias, 0) @ second.T + offset
    return float((said.argmax(axis=1) == labels).mean())


def _layer(wide: int, tall: int, random: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    weights = random.normal(0, np.sqrt(2 / wide), (tall, wide)).astype(np.float32)
    return weights, np.zeros(tall, np.float32)
