"""Numbers that grow by one: where one is missing, and nothing says why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

Span = tuple[int, int]
"""The first and the last number that may be missing."""


def holes(present: Iterable[int], lost: Iterable[Span]) -> Iterator[tuple[int, int]]:
    """The first missing number of each hole, and the number after it; 0 is there always."""
    spans = sorted(lost)
    for before, after in pairwise(sorted({0, *present})):
        missing = before + 1
        for first, last in spans:
            missing = last + 1 if first <= missing <= last else missing
        if missing < after:
            yield missing, after
