"""Plug-ins that misbehave, each in one way; some of them at first glance like any other."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mizzle import codes
from mizzle.errors import Away
from mizzle.grid import Grid, Levels, Sparse, Vector
from mizzle.plugins import Draw

BOOM = "what a device sent, 0.123"
STRATEGIES: dict[str, Callable[[Vector, Vector], Any]] = {
    "none": lambda _model, _mean: None,
    "shorter": lambda model, _mean: (model[:-1], {}),
    "narrower": lambda model, mean: ((model + mean).astype(np.float32), {}),
    "flatter": lambda model, _mean: (model.reshape(1, -1), {}),
    "a list": lambda model, _mean: (model.tolist(), {}),
    "NaN": lambda model, _mean: (model * np.nan, {}),
    "beyond 32 bits": lambda model, _mean: (model + 1e39, {}),
    "memory of nothing": lambda model, _mean: (model, None),
    "memory of numbers": lambda model, _mean: (model, {"steps": 3}),
    "narrow memory": lambda model, _mean: (model, {"steps": np.zeros(3, np.float32)}),
    "infinite memory": lambda model, _mean: (model, {"steps": np.full(3, np.inf)}),
    "memory without a name": lambda model, _mean: (model, {3: np.zeros(3)}),
    "too much memory": lambda model, _mean: (model, {"all": np.zeros(17 * model.size)}),
    "in place": lambda model, mean: (np.add(model, mean, out=model), {}),
    "raise": lambda _model, _mean: raising(RuntimeError(BOOM)),
    "raise Away": lambda _model, _mean: raising(Away("a store of its own")),
    "exit": lambda _model, _mean: sys.exit("enough"),
    "panic": lambda _model, _mean: raising(Panic(BOOM)),
    "a memory that raises": lambda model, _mean: (model, Forgetful()),
    "a name that is the file's own": lambda model, _mean: (model, {"__metadata__": np.zeros(3)}),
}


class Forgetful(Mapping[str, Vector]):
    """A mapping that gives nothing back."""

    def __getitem__(self, name: str) -> Any:
        """Never."""
        raise RuntimeError(BOOM)

    def __iter__(self) -> Any:
        """Never, either."""
        raise RuntimeError(BOOM)

    def __len__(self) -> int:
        """As if there were something."""
        return 1


class Panic(BaseException):
    """What compiled code raises when it has lost its way."""


def raising(error: BaseException) -> Any:
    """Raise it, in the place of an answer."""
    raise error


@dataclass(frozen=True)
class Strategy:
    """One that gives what `how` says."""

    how: str

    def apply(self, model: Vector, mean: Vector, memory: Mapping[str, Vector]) -> Any:
        """Anything but a model and a memory."""
        del memory
        return STRATEGIES[self.how](model, mean)


@dataclass(frozen=True)
class Mechanism:
    """Noise that is none."""

    how: str = "raise"

    claims: ClassVar[bool] = False

    def sigma(self, weight_cap: int, bound: int) -> int:
        """As if there were none."""
        del weight_cap, bound
        return 0

    def price(self, weight: int, weight_cap: int, bound: int) -> int:
        """Nothing."""
        del weight, weight_cap, bound
        return 0

    def noise(self, key: bytes, sigma: int, size: int) -> Any:
        """Too short, of floats, or an exception."""
        del key, sigma
        if self.how == "raise":
            raise RuntimeError(BOOM)
        return np.zeros(size - 1, np.int64) if self.how == "shorter" else np.zeros(size)


@dataclass(frozen=True)
class Nan:
    """A score that is no number."""

    def score(self, norm: float, history: Sequence[float]) -> float:
        """NaN, which is neither above nor below anything."""
        del norm, history
        return float("nan")

    def refuses(self, score: float) -> str | None:
        """Nothing."""
        del score
        return None


@dataclass(frozen=True)
class Endless(Nan):
    """A score that is more than any."""

    def score(self, norm: float, history: Sequence[float]) -> float:
        """Infinity."""
        del norm, history
        return float("-inf")


@dataclass(frozen=True)
class Wordless(Nan):
    """A score that gives words."""

    def score(self, norm: float, history: Sequence[float]) -> Any:
        """No number at all."""
        del norm, history
        return "high"


@dataclass(frozen=True)
class Faulty(Nan):
    """A score with a fault in it."""

    def score(self, norm: float, history: Sequence[float]) -> float:
        """Never."""
        del norm, history
        raise RuntimeError(BOOM)


@dataclass(frozen=True)
class Wordy(Nan):
    """A score that refuses with a speech."""

    def score(self, norm: float, history: Sequence[float]) -> float:
        """Above 1."""
        del norm, history
        return 2.0

    def refuses(self, score: float) -> str:
        """5,000 characters, the first of which has no bytes in UTF-8."""
        del score
        return "\ud800" + "x" * 4999


@dataclass(frozen=True)
class Reasoning(Wordy):
    """A score whose reason is none."""

    def refuses(self, score: float) -> Any:
        """A list."""
        return [score]


@dataclass(frozen=True)
class Policy:
    """One that chooses as `how` says."""

    how: str

    def choose(self, present: Sequence[str], count: int, entropy: bytes) -> Any:
        """Anything but some of those who are there."""
        del entropy
        if self.how == "raise":
            raise RuntimeError(BOOM)
        chosen = {
            "strangers": ("nobody-knows",) * count,
            "twice": (*present[:1], *present[:1]),
            "too many": tuple(present),
            "none": None,
            "numbers": (1, 2, 3),
        }
        return chosen[self.how]


@dataclass(frozen=True)
class Codec:
    """Three bytes for any change, which are read as `how` says."""

    how: str = "raise"

    bits: ClassVar[int] = 8
    error_feedback: ClassVar[bool] = False

    def payload_bytes(self, grid: Grid) -> int:
        """As few as it takes to misbehave."""
        del grid
        return 3

    def encode(self, change: Vector, grid: Grid, seed: bytes, bound: int, draw: Draw) -> bytes:
        """Zeros, or one too many."""
        del change, grid, seed, bound, draw
        return bytes(4 if self.how == "longer" else 3)

    def decode(self, payload: bytes, grid: Grid) -> Any:
        """An exception, or nothing that lies on the grid."""
        del payload
        levels = codes.levels(np.zeros(grid.padded, np.uint8), 8)
        two = levels[:2]
        found: dict[str, Callable[[], Any]] = {
            "raise": lambda: raising(ValueError(BOOM)),
            "exit": lambda: sys.exit("enough"),
            "panic": lambda: raising(Panic(BOOM)),
            "none": lambda: None,
            "shorter": lambda: Levels(1, levels[:-1]),
            "wide": lambda: Levels(1, levels.astype(np.int64)),  # type: ignore[arg-type]  # as it should not be
            "high": lambda: Levels(1, np.full(grid.padded, 257, np.int16)),
            "a large multiplier": lambda: Levels(2**32, levels),
            "a small multiplier": lambda: Levels(-1, levels),
            "a float for a multiplier": lambda: Levels(1.0, levels),  # type: ignore[arg-type]  # as above
            "beyond": lambda: Sparse(1, np.array([0, grid.size]), two),
            "before": lambda: Sparse(1, np.array([-1, 0]), two),
            "one place twice": lambda: Sparse(1, np.array([1, 1]), two),
            "fewer levels": lambda: Sparse(1, np.array([0, 1, 2]), two),
        }
        return found[self.how]()
