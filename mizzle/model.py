"""A model as a file and as a vector: the numbers of a safetensors file in the order in which they lie in it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mizzle.layout import tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from mizzle.grid import Vector


def flat(model: bytes) -> Vector:
    """All d numbers of the safetensors file `model`, as 64-bit floats.

    Raises:
        Misconfigured: it is no such file of 32-bit floats.
    """
    return _numbers(model)[1].astype(np.float64)


def filled(model: bytes, vector: Vector) -> bytes:
    """The safetensors file `model` with the d numbers of `vector` in place of its own, rounded to 32 bits."""
    return model[: _start(model)] + vector.astype("<f4").tobytes()


def named(model: bytes) -> dict[str, npt.NDArray[np.float32]]:
    """The tensors of the safetensors file `model` by name; they are copies that may be written to.

    Raises:
        Misconfigured: it is no such file of 32-bit floats.
    """
    (shapes, numbers), at, found = _numbers(model), 0, {}
    for name, shape in shapes:
        extent = math.prod(shape)
        found[name] = numbers[at : at + extent].reshape(shape).copy()
        at += extent
    return found


def flat_of(model: bytes, weights: Mapping[str, npt.NDArray[np.floating]]) -> Vector:
    """The numbers of `weights` in the order of the safetensors file `model`.

    Raises:
        ValueError: a tensor is missing, too many, or of another shape; the text names it.
    """
    wanted = tensors(model)
    if set(weights) != {name for name, _ in wanted}:
        text = f"the model has the tensors {sorted(name for name, _ in wanted)}, training gave {sorted(weights)}"
        raise ValueError(text)
    for name, shape in wanted:
        if weights[name].shape != shape:
            text = f"{name} has shape {shape} in the model, training gave {weights[name].shape}"
            raise ValueError(text)
    return np.concatenate([np.asarray(weights[name], np.float64).ravel() for name, _ in wanted])


def _numbers(model: bytes) -> tuple[list[tuple[str, tuple[int, ...]]], npt.NDArray[np.float32]]:
    """What the header says, and the numbers behind it, which are those that it says."""
    shapes = tensors(model)
    return shapes, np.frombuffer(model, "<f4", offset=_start(model))


def _start(model: bytes) -> int:
    return 8 + int.from_bytes(model[:8], "little")
