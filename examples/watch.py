"""The watch HAR set as a fleet: seven shoulder exercises, ten people, a watch on each wrist, so twenty devices.

Accelerometer and gyroscope at 50 Hz become windows of two seconds that overlap by half, and each window 36 figures.
A wrist is named `person-side`: `3-left`. Those of `HELD_OUT` only evaluate. The figures are normalised by one
volunteer's means and deviations, which the plan names and everybody may know: pooling raw recordings to find better
ones is the leak that all this avoids.

The set is a file of the seglearn package, found and read here without importing that package.
"""

from __future__ import annotations

import codecs
import functools
import hashlib
import importlib.util
import io
import json
import pickle
import threading
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

import mizzle
from mizzle.errors import Forged, Misconfigured, Unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

Examples = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Inputs of shape (n, 36), normalised, and labels of shape (n,), 0 to 6."""

SIDES: Final = ("left", "right")
HELD_OUT: Final = tuple(f"{person}-{side}" for person in (1, 2) for side in SIDES)
TRAINING: Final = tuple(f"{person}-{side}" for person in range(3, 11) for side in SIDES)
PLAN: Final = Path(__file__).with_name("watch-har") / "plan.toml"

_WINDOW, _STRIDE = 100, 50
_SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
_INSTALL = "pip install --no-deps seglearn==1.2.5"
_READING = threading.Lock()


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    """This device's examples for torch: inputs, float32 of shape (n, 36), and labels, int64 of shape (n,)."""
    import torch  # noqa: PLC0415  # 224 MB that a numpy device does without

    inputs, labels = arrays()
    return torch.tensor(inputs), torch.tensor(labels)


def arrays() -> Examples:
    """This device's examples for numpy: those of the wrist that its setting WATCH_WRIST names."""
    return wrist(mizzle.environment().get("WATCH_WRIST", ""))


def held_out() -> Examples:
    """The examples of the people whose devices never train."""
    return _joined([wrist(name) for name in HELD_OUT])


def wrist(name: str) -> Examples:
    """The examples of the wrist `name`: the same read-only arrays each time.

    Raises:
        Misconfigured: no wrist has that name, or the set is not installed.
        Forged: the installed file is not the set that is meant.
    """
    if name not in HELD_OUT + TRAINING:
        raise Misconfigured(f"WATCH_WRIST is one of {', '.join(HELD_OUT + TRAINING)}; got {name!r}")
    with _READING:  # a fleet's devices begin together, and one of them reads for all
        return _normalised()[name]


@functools.cache
def _normalised() -> dict[str, Examples]:
    figures = json.loads(PLAN.with_name(tomllib.loads(PLAN.read_text())["train"]["input"]).read_text())
    means, deviations = np.array(figures["means"]), np.array(figures["deviations"])
    return {
        name: (_frozen((inputs - means) / deviations, np.float32), _frozen(labels, np.int64))
        for name, (inputs, labels) in measured().items()
    }


def measured() -> dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """For each wrist its figures before they are normalised, of shape (n, 36), and its labels."""
    kept = _unpickled(_file())
    parts: dict[str, list[tuple[Any, Any]]] = {name: [] for name in HELD_OUT + TRAINING}
    for recording, label, person, side in zip(kept["X"], kept["y"], kept["subject"], kept["side"], strict=True):
        inputs = features(recording)
        parts[f"{person}-{SIDES[int(side)]}"].append((inputs, np.full(len(inputs), label)))
    return {name: _joined(of) for name, of in parts.items()}


def features(recording: NDArray[np.float64]) -> NDArray[np.float64]:
    """The 36 figures of each window of `recording`, of shape (samples, 6): six kinds, each of all six channels."""
    seen = sliding_window_view(recording, _WINDOW, axis=0)[::_STRIDE]  # (windows, 6, 100)
    step = np.abs(np.diff(seen)).mean(-1)
    return np.hstack([seen.mean(-1), seen.std(-1), seen.min(-1), seen.max(-1), np.median(seen, -1), step])


def _file() -> bytes:
    spec = importlib.util.find_spec("seglearn")  # never imported: it would want pandas
    path = Path(spec.origin).with_name("data") / "watch_dataset.npy" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise Misconfigured(f"the watch HAR set is not installed. Run: {_INSTALL}")
    held = path.read_bytes()
    found = hashlib.sha256(held).hexdigest()
    if found != _SHA256:
        raise Forged(f"{path} has SHA-256 {found}, not {_SHA256}. Run: {_INSTALL} --force-reinstall")
    return held


def _unpickled(held: bytes) -> dict[str, Any]:
    stream = io.BytesIO(held)
    np.lib.format.read_magic(stream)
    np.lib.format.read_array_header_1_0(stream)
    whole: dict[str, Any] = ArraysOnly(stream).load().item()
    return whole


class ArraysOnly(pickle.Unpickler):
    """Reads a pickle of numpy arrays; whatever else it names is refused, and so never called."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:  # noqa: ANN401  # whatever the pickle may call
        """What the pickle may call by this name.

        Raises:
            Unreadable: it names something that no array needs.
        """
        if (module_name, global_name) not in _NEEDED:
            raise Unreadable(f"a pickle of arrays names numpy's types alone, this one {module_name}.{global_name}")
        return _NEEDED[module_name, global_name]


_NEEDED: Final[dict[tuple[str, str], Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): np.ndarray(0).__reduce__()[0],  # its old address warns since numpy 2
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}


def _joined(parts: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
    return np.concatenate([inputs for inputs, _ in parts]), np.concatenate([labels for _, labels in parts])


def _frozen(array: NDArray[Any], kind: type[np.generic]) -> NDArray[Any]:
    kept = array.astype(kind)
    kept.flags.writeable = False
    return kept
