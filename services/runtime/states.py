"""What a service remembers, as the bytes that Redis keeps of it, and back."""

from __future__ import annotations

from typing import Any, TypeVar, get_origin

import msgspec
import numpy as np
import structlog

S = TypeVar("S")

_log = structlog.get_logger()


def remembered(state: Any) -> bytes:  # noqa: ANN401  # every service has its own state
    """A state as bytes; arrays as their type and their bytes."""
    return msgspec.msgpack.encode(state, enc_hook=_array_out)


def recalled(body: bytes | None, fresh: S) -> S:
    """The state that `remembered` wrote; `fresh` if there is none, or it is of another version of this program."""
    if body is None:
        return fresh
    try:
        return msgspec.msgpack.decode(body, type=type(fresh), dec_hook=_array_in)
    except msgspec.MsgspecError as error:
        _log.warning("the stored state is not of this version: begin from the ledger", why=str(error))
        return fresh


def _array_out(value: Any) -> Any:  # noqa: ANN401  # msgspec's hook
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return [value.dtype.str, value.tobytes()]
    raise NotImplementedError(f"a state holds arrays of one dimension, and no {type(value).__name__} else")


def _array_in(kind: type, value: Any) -> Any:  # noqa: ANN401  # msgspec's hook
    if (get_origin(kind) or kind) is np.ndarray:
        return np.frombuffer(value[1], value[0]).copy()
    raise NotImplementedError(f"a state holds no {kind}")
