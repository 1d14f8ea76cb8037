"""Which tensor lies where in a safetensors file: 8 bytes of length, a header of JSON, and nothing but 32-bit floats.

A model may come from anybody's disk or from a broker, and what reads it goes by its header, so the header is held to
every rule of the format: the tensors fill the file from the header to its end, none overlaps another, and a shape is
as long as the place it is given [https://github.com/huggingface/safetensors, "Format"].
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from mizzle.errors import Misconfigured
from mizzle.known import known

MOST_HEADER: Final = 4 * 1024 * 1024
"""Some 40,000 tensors; the format's own bound, 100 MB, would take a small device's memory."""

MOST_RANK: Final = 64
"""numpy has no more dimensions."""

_PREFIX: Final = 8
_Extent = Annotated[int, Meta(ge=0, le=2**40)]


class _Tensor(Struct, frozen=True, forbid_unknown_fields=True):
    """What the header says of one tensor; its offsets count from the header's end."""

    dtype: str
    shape: Annotated[tuple[_Extent, ...], Meta(max_length=MOST_RANK)]
    data_offsets: tuple[_Extent, _Extent]


def tensors(model: bytes) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes in the safetensors file `model`, in the order in which their numbers lie in it.

    Raises:
        Misconfigured: it is no safetensors file of 32-bit floats, or says of itself what is not so; the text names the
        tensor.
    """
    length = _header_length(model)
    entries = sorted(_header(model[_PREFIX : _PREFIX + length]).items(), key=lambda entry: entry[1].data_offsets)
    if not entries or any(entry.dtype != "F32" for _, entry in entries):
        raise _refused(f"it has tensors of F32 alone, got {sorted({entry.dtype for _, entry in entries})[:10]}")
    end = 0
    for name, entry in entries:
        wanted = (end, end + 4 * math.prod(entry.shape))
        if entry.data_offsets != wanted:
            text = f"{name[:100]!r} of shape {list(entry.shape)} would lie at {wanted}, not at {entry.data_offsets}"
            raise _refused(f"one tensor lies behind the other, each as long as its shape: {text}")
        end = wanted[1]
    if end != (there := len(model) - _PREFIX - length):
        raise _refused(f"its tensors fill it: their shapes make {end} bytes, {there} follow the header")
    return [(name, entry.shape) for name, entry in entries]


def _header_length(model: bytes) -> int:
    length, most = int.from_bytes(model[:_PREFIX], "little"), min(MOST_HEADER, len(model) - _PREFIX)
    if length > most:
        text = f"a file of {len(model)} bytes claims a header of {length}, at most {max(most, 0)} may be"
        raise _refused(f"its header is in it and at most {MOST_HEADER} bytes long: {text}")
    return length


def _header(text: bytes) -> dict[str, _Tensor]:
    try:
        tree = msgspec.convert(json.loads(text, object_pairs_hook=_no_name_twice), dict[str, Any])
        tree.pop("__metadata__", None)
        return msgspec.convert(tree, dict[str, _Tensor], strict=True)
    except (ValueError, RecursionError) as error:
        raise _refused(f"its header cannot be read: {str(error)[:300]}") from error


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _refused(text: str) -> Misconfigured:
    return Misconfigured(f"the plan's model is a safetensors file; {text}. Write it with safetensors.numpy.save")


known(_Tensor)
