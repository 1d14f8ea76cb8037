"""The weight that staleness earns: ⌊64·s(τ)⌋ with s(τ) = 1/√(1+τ), by whole numbers alone."""

from __future__ import annotations

from math import isqrt
from typing import Final

FULL: Final = 64


def earned(staleness: int) -> int:
    """The weight of an update of this staleness; full where there is none."""
    return isqrt(FULL * FULL // (1 + max(staleness, 0)))
