"""Receipts that somebody holds and that the ledger need not have: told again, cleaned up, or lost with a newer ledger.

None of them is believed without a bound: those that were cleaned up are at most as many as ended so, and those that
were lost name what the restoration says is lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Literal

from .evidence import Evidence
from .genuine import Told, told
from .held import held
from .ledger import Ledger
from .members import listed
from .past import Ending, endings, has_ended, memories
from .published import published
from .restored import gaps
from .rows import Update

Kind = Literal["again", "cleaned", "lost"]


@lru_cache(maxsize=8)
def excused(evidence: Evidence) -> Mapping[bytes, Kind]:
    """By its bytes, why the ledger need not have a receipt that is held."""
    ledger, found = evidence.ledger, dict[bytes, Kind]()
    cleaned: dict[Ending, dict[bytes, bytes]] = defaultdict(dict)
    for body in {one.sealed for one in held(evidence)}:
        one = told(ledger, body)
        row = ledger.update_of.get(one.update) if one else None
        if one is None or (row is not None and row.receipt == body):
            continue
        if one.is_again:
            found[body] = "again"
        elif _is_lost(ledger, one, row):
            found[body] = "lost"
        elif row is None and _is_remembered(evidence, one):
            cleaned[_ending(one)][one.update] = body
    return found | dict.fromkeys(_as_many_as_ended(evidence, cleaned), "cleaned")


def _as_many_as_ended(evidence: Evidence, cleaned: Mapping[Ending, Mapping[bytes, bytes]]) -> Iterator[bytes]:
    """Of those that ended in one way as many as were cleaned up, the ones whose counters are known before others."""
    for ending, bodies in cleaned.items():
        likely = sorted(bodies, key=lambda update: (update not in counters(evidence), update))
        for update in likely[: endings(evidence.ledger).get(ending, 0)]:
            yield bodies[update]


def _ending(one: Told) -> Ending:
    return one.federation, one.window, one.outcome, one.reason, one.release


def _is_remembered(evidence: Evidence, one: Told) -> bool:
    """Whether its device, its counter where that is known, and its release's list of members speak for it."""
    memory = memories(evidence.ledger).get((one.federation, one.device))
    counter = counters(evidence).get(one.update)
    if memory is None or (counter is None and one.window > memory.named_window):
        return False
    is_marked = counter is None or has_ended(memory, counter, one.window)
    return is_marked and (
        one.outcome != "counted" or one.update in _members(evidence.ledger)[one.federation, one.release]
    )


@lru_cache(maxsize=8)
def counters(evidence: Evidence) -> Mapping[bytes, int]:
    """The counters of all updates that the broker is known to have carried."""
    return {one.sealed.id: one.sealed.counter for one in published(evidence)}


@lru_cache(maxsize=8)
def _members(ledger: Ledger) -> Mapping[tuple[str, int], frozenset[bytes]]:
    found: dict[tuple[str, int], frozenset[bytes]] = defaultdict(frozenset)
    for federation, version, members in listed(ledger):
        found[federation, version] |= frozenset(members)
    return found


def _is_lost(ledger: Ledger, one: Told, row: Update | None) -> bool:
    """Whether the newer ledger that was lost may have sealed it: this one has no end for it, or a later one."""
    if row is not None and not was_given_up(ledger, row):
        return False
    mine = [gap for gap in gaps(ledger, one.federation) if one.window <= gap.newest_window]
    return any(one.outcome != "counted" or gap.loses_version(one.release) for gap in mine)


def was_given_up(ledger: Ledger, row: Update) -> bool:
    """Whether this update ended because its ledger was restored."""
    if row.outcome == "abandoned":
        return row.window in given_up(ledger, row.federation)
    return (row.outcome, row.reason) == ("refused", "restored")


@lru_cache(maxsize=64)
def given_up(ledger: Ledger, federation: str) -> frozenset[int]:
    """The windows that ended while the ledger waited for a person, by the log: their noise may have been drawn."""
    ends = [act for act in ledger.audit if (act.federation, act.action) == (federation, "window.abandoned")]
    within = [act for act in ends if any(gap.is_within(act) for gap in gaps(ledger, federation))]
    return frozenset(number for act in within if (number := act.number) is not None)
