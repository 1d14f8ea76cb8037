"""What is left of updates that were cleaned up: how many ended how, and which of each device's counters those were.

ADR 19: an update that is not in the ledger has ended if it names no newer window than the one that is remembered, and
its counter is marked or lies further back than the bitmap reaches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from .books import Memory
from .envelope import opened
from .ledger import Ledger
from .rows import Update

REACH: Final = 8192
Ending = tuple[str, int, str, str, int]
"""Federation, named window, outcome, reason and release, empty and 0 where there is none."""


@lru_cache(maxsize=8)
def endings(ledger: Ledger) -> Mapping[Ending, int]:
    """How many updates that were cleaned up ended in each way."""
    found = Counter[Ending]()
    for one in ledger.past:
        found[one.federation, one.named_window, one.outcome, one.reason, one.version] += one.count
    return found


def ending_of(row: Update) -> Ending:
    """The way in which a row that is still there ended."""
    return row.federation, row.named_window, row.outcome, row.reason or "", row.version or 0


@lru_cache(maxsize=8)
def members(ledger: Ledger) -> Mapping[tuple[str, int | None], int]:
    """How many members of each release were cleaned up."""
    found = Counter[tuple[str, int | None]]()
    for (federation, _, outcome, _, version), count in endings(ledger).items():
        found[federation, version] += count if outcome == "counted" else 0
    return found


@lru_cache(maxsize=8)
def memories(ledger: Ledger) -> Mapping[tuple[str, str], Memory]:
    """What is remembered of each device."""
    return {(one.federation, one.device): one for one in ledger.memories}


def settled(ledger: Ledger, device: str, federation: str | None = None) -> int:
    """What the charges of this device that were cleaned up had settled, everywhere or in one federation."""
    mine = (one for one in ledger.memories if one.device == device)
    return sum(one.settled for one in mine if federation in {None, one.federation})


def is_marked(memory: Memory | None, counter: int) -> bool:
    """Whether the bitmap says that this counter is of an update that has ended."""
    back = memory.mark - counter if memory else -1
    return memory is not None and 0 <= back <= REACH and bool(bits(memory) >> back & 1)


def has_ended(memory: Memory | None, counter: int, window: int) -> bool:
    """Whether an update that is not in the ledger has ended, by what is remembered of its device."""
    if memory is None or window > memory.named_window:
        return False
    return memory.mark - counter > REACH or is_marked(memory, counter)


def bits(memory: Memory) -> int:
    """The bitmap as a number: bit k says that mark - k has ended."""
    return int.from_bytes(memory.ended, "big")


def counter_of(row: Update) -> int | None:
    """The counter in the header that the device signed."""
    sealed = opened(row.sealed)
    return sealed.counter if sealed else None
