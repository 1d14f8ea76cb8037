"""The Protocols of everything that can be exchanged, on one page.

A plug-in is one file and one frozen dataclass: its fields are its settings, its file name is its name in a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from mizzle.grid import Coded, Grid, Integers, Vector

Draw = Callable[[int], bytes]
"""Gives so many random bytes."""


class Codec(Protocol):
    """How a change of the model becomes a payload of the grid's integers (`mizzle/codecs/`).

    `bits` is the width of its levels, which the grid takes over. With `error_feedback` a device adds what the codec
    lost of one change to its next one. All payloads on one grid have the same length: a length that depends on the
    change would leak.
    """

    @property
    def bits(self) -> int:
        """b, as in `Grid`."""

    @property
    def error_feedback(self) -> bool:
        """Whether what was lost is kept for the next change."""

    def payload_bytes(self, grid: Grid) -> int:
        """The length of every payload on this grid."""

    def encode(self, change: Vector, grid: Grid, seed: bytes, bound: int, draw: Draw) -> bytes:
        """The payload of `change`, at most `bound` long on the grid; `seed` is the window's rotation."""

    def decode(self, payload: bytes, grid: Grid) -> Coded:
        """The integers in `payload`; raises `Unreadable` if it is none of this codec's."""


class Mechanism(Protocol):
    """How a sum is noised and what that costs whoever is in it (`mizzle/mechanisms/`).

    Where it `claims` privacy, payloads have one length and every release says its ε.
    """

    @property
    def claims(self) -> bool:
        """Whether anything is promised to those who are in a sum."""

    def sigma(self, weight_cap: int, bound: int) -> int:
        """The standard deviation of the noise on the weighted integer sum."""

    def price(self, weight: int, weight_cap: int, bound: int) -> int:
        """μ² of one update of this weight, in units of 2^-32, rounded up."""

    def noise(self, key: bytes, sigma: int, size: int) -> Integers:
        """`size` exact draws with this standard deviation, from the keystream of `key`."""


class Policy(Protocol):
    """Who is invited to a window (`services/selector/policies/`)."""

    def choose(self, present: Sequence[str], count: int, entropy: bytes) -> tuple[str, ...]:
        """At most `count` of the devices `present`; the same for the same entropy."""


class Assessment(Protocol):
    """One score of an update by itself and its device's own past (`services/anomaly_detector/scores/`)."""

    def score(self, norm: float, history: Sequence[float]) -> float:
        """How suspicious this norm is (1 is the bound), after the norms of the device's accepted ones, oldest first."""

    def refuses(self, score: float) -> str | None:
        """Why an update with this score is refused; None if it is not."""


class Strategy(Protocol):
    """How the mean update changes the model (`services/aggregator/strategies/`)."""

    def apply(self, model: Vector, mean: Vector, memory: Mapping[str, Vector]) -> tuple[Vector, dict[str, Vector]]:
        """The next model, and what the strategy must remember for the one after it."""
