"""Safetensors files that say of themselves what is not so: none may be read, whoever it came from."""

import json
import struct
from typing import Any

import numpy as np
from safetensors.numpy import save

GOOD = bytes(save({"bias": np.ones(4, np.float32), "weight": np.arange(6, dtype=np.float32).reshape(2, 3)}))


def entry(shape: Any, offsets: Any, dtype: Any = "F32") -> dict[str, Any]:
    """What a header says of one tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def written(header: Any, numbers: int, *, length: int | None = None) -> bytes:
    """A file with this header, a text or what JSON makes of it, and so many bytes of numbers behind it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(numbers)


def two(first: dict[str, Any], second: dict[str, Any], numbers: int) -> bytes:
    """A file of two tensors."""
    return written({"a": first, "b": second}, numbers)


_ONE = json.dumps(entry([4], [0, 16])).encode()

BAD = {
    "nothing": b"",
    "less than a length": b"\0" * 7,
    "no header": written(b"", 16),
    "a header longer than the file": written({"a": entry([4], [0, 16])}, 16, length=4096),
    "a header of 2^63": written({"a": entry([4], [0, 16])}, 16, length=2**63),
    "a header of 2^64 - 1": written({"a": entry([4], [0, 16])}, 16, length=2**64 - 1),
    "a header of spaces, longer than may be": written(b"{" + b" " * (5 * 2**20) + b"}", 0),
    "a header cut short": GOOD[:40],
    "no JSON": written(b"\x80\x02]q\0.", 16),
    "no object": written([entry([4], [0, 16])], 16),
    "no tensors": written({}, 0),
    "nested a hundred thousand deep": written(b'{"a":' + b"[" * 100_000, 16),
    "a name twice": written(b'{"a":' + _ONE + b',"a":' + _ONE + b"}", 16),
    "a field twice": written(b'{"a":{"dtype":"F32","shape":[9],"shape":[4],"data_offsets":[0,16]}}', 16),
    "a field too many": written({"a": entry([4], [0, 16]) | {"order": "F"}}, 16),
    "a field missing": written({"a": {"dtype": "F32", "shape": [4]}}, 16),
    "64-bit floats": written({"a": entry([2], [0, 16], "F64")}, 16),
    "half floats": written({"a": entry([8], [0, 16], "F16")}, 16),
    "integers": written({"a": entry([4], [0, 16], "I32")}, 16),
    "big-endian floats": written({"a": entry([4], [0, 16], ">f4")}, 16),
    "no type": written({"a": entry([4], [0, 16], None)}, 16),
    "one tensor of another type": two(entry([2], [0, 8]), entry([1], [8, 16], "F64"), 16),
    "a shape whose product is 2^64": written({"a": entry([2**32, 2**32], [0, 0])}, 0),
    "a shape whose bytes wrap to 16": written({"a": entry([2**62 + 4], [0, 16])}, 16),
    "a shape that is 2^40 in every one of 64 dimensions": written({"a": entry([2**40] * 64, [0, 16])}, 16),
    "a shape of ten thousand dimensions": written({"a": entry([2**40] * 10_000, [0, 16])}, 16),
    "a shape larger than its place": written({"a": entry([5], [0, 16])}, 16),
    "a shape smaller than its place": written({"a": entry([3], [0, 16])}, 16),
    "a negative shape": written({"a": entry([-2, -2], [0, 16])}, 16),
    "a shape of fractions": written({"a": entry([4.0], [0, 16])}, 16),
    "a shape of NaN": written(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,16]}}', 16),
    "a shape of infinity": written(b'{"a":{"dtype":"F32","shape":[Infinity],"data_offsets":[0,16]}}', 16),
    "a shape of text": written({"a": entry(["4"], [0, 16])}, 16),
    "a shape that is a number": written({"a": entry(4, [0, 16])}, 16),
    "negative offsets": written({"a": entry([4], [-16, 0])}, 16),
    "offsets that go backwards": written({"a": entry([4], [16, 0])}, 16),
    "offsets beyond the file": written({"a": entry([4], [0, 16])}, 12),
    "offsets of 2^64": written({"a": entry([4], [2**64, 2**64 + 16])}, 16),
    "one offset": written({"a": entry([4], [0])}, 16),
    "three offsets": written({"a": entry([4], [0, 16, 16])}, 16),
    "overlapping tensors": two(entry([4], [0, 16]), entry([4], [8, 24]), 24),
    "two tensors at one place": two(entry([4], [0, 16]), entry([4], [0, 16]), 16),
    "a gap between tensors": two(entry([2], [0, 8]), entry([2], [12, 20]), 20),
    "a gap in front": written({"a": entry([3], [4, 16])}, 16),
    "bytes behind the last tensor": written({"a": entry([3], [0, 12])}, 16),
    "a number too few": GOOD[:-4],
    "a byte too many": GOOD + b"\0",
    "a pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0" + b"\x8c\x02os\x94.",
}
