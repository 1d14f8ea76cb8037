"""The model that follows a window's, by the plan's strategy: held to what a strategy may give, whatever it does.

What is made here is signed and sent to every device, and the next window begins at it. So a strategy that raises, or
gives something that is no model, or that cannot be remembered, makes none: `Misbehaved` says what it did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from safetensors.numpy import load, save

from mizzle.errors import Misbehaved
from mizzle.misbehaviour import asked
from mizzle.model import filled, flat
from mizzle.registry import plug_in

if TYPE_CHECKING:
    from mizzle.grid import Vector
    from mizzle.plan import PlugIn
    from mizzle.plugins import Strategy

MOST_REMEMBERED: Final = 16
"""A strategy remembers at most so many times as many numbers as the model has."""


def strategy_of(wanted: PlugIn) -> Strategy:
    """The strategy that a plan names.

    Raises:
        Misconfigured: it is not here.
    """
    strategy: Strategy = plug_in("services.aggregator.strategies", wanted)
    return strategy


def successor(wanted: PlugIn, base: bytes, mean: Vector, memory: Mapping[str, Vector]) -> tuple[bytes, bytes | None]:
    """The file of the model that follows `base`, and that of what the strategy must remember, if there is anything.

    Raises:
        Misbehaved: the strategy raised, or gave something else than a finite model and a finite memory.
    """
    who, model = f"strategy {wanted.name!r}", flat(base)
    held = {name: _fixed(vector) for name, vector in memory.items()}
    made: object = asked(who, strategy_of(wanted).apply, _fixed(model), _fixed(mean), held)
    if not (isinstance(made, tuple) and len(made) == 2):  # noqa: PLR2004  # a model and a memory
        raise Misbehaved(f"{who} gave a {type(made).__name__}, wanted a model and a memory")
    vector, remembered = made
    _refuse_what_is_no_model(who, vector, model.size)
    kept = _memory(who, remembered, MOST_REMEMBERED * model.size)
    return filled(base, vector), _written(who, kept) if kept else None


def _written(who: str, remembered: Mapping[str, Vector]) -> bytes:
    """The file of what a strategy remembers, if the next window can read the same from it.

    The format's library does not look at strides, and takes names that it does not give back.
    """
    vectors = {name: np.ascontiguousarray(vector) for name, vector in remembered.items()}
    file: bytes = asked(who, save, vectors)
    found = asked(who, load, file)
    if found.keys() != vectors.keys() or any(found[name].tobytes() != vectors[name].tobytes() for name in vectors):
        raise Misbehaved(f"{who} gave something to remember that cannot be read again: other names")
    return file


def _fixed(vector: Vector) -> Vector:
    """The vector as something that cannot be written to: a window that is sealed again is sealed from the same."""
    view = vector.view()
    view.flags.writeable = False
    return view


def _refuse_what_is_no_model(who: str, vector: object, size: int) -> None:
    if not (isinstance(vector, np.ndarray) and (vector.dtype, vector.shape) == (np.float64, (size,))):
        raise Misbehaved(f"{who} gave {_shape(vector)} for a model, wanted float64 ({size},)")
    with np.errstate(over="ignore"):  # what is too large for the 32 bits of a model's file is infinite there
        wrong = size - int(np.count_nonzero(np.isfinite(vector.astype(np.float32))))
    if wrong:
        raise Misbehaved(f"{who} gave a model of which {wrong} of {size} numbers are NaN or infinite in 32 bits")


def _memory(who: str, given: object, most: int) -> dict[str, Vector]:
    """What the strategy gave to remember, taken out of whatever mapping it is."""
    if not isinstance(given, Mapping):
        raise Misbehaved(f"{who} gave a {type(given).__name__} to remember, wanted vectors by name")
    memory: dict[Any, Any] = asked(who, dict, given)
    for name, vector in memory.items():
        is_vector = isinstance(vector, np.ndarray) and vector.dtype == np.float64 and vector.ndim == 1
        if not (isinstance(name, str) and is_vector):
            raise Misbehaved(f"{who} gave {_shape(vector)} to remember, wanted float64 vectors by name")
        if not np.isfinite(vector).all():
            raise Misbehaved(f"{who} gave numbers to remember that are NaN or infinite")
    if (found := sum(vector.size for vector in memory.values())) > most:
        raise Misbehaved(f"{who} gave {found} numbers to remember, at most {most} may be")
    return memory


def _shape(found: Any) -> str:  # noqa: ANN401  # whatever a strategy gave
    return f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
