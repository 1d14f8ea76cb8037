"""What is left of updates that were cleaned up: it agrees with itself, and with the rows that are still there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .books import Memory
from .conservation import OUTCOMES
from .evidence import Evidence
from .finding import Finding, update_named, window_named
from .ledger import Ledger
from .past import bits, counter_of, endings, is_marked, memories


def judge(evidence: Evidence) -> Iterator[Finding]:
    """Counts that are none, marks that nobody earned, and updates that were cleaned up and are still there."""
    ledger = evidence.ledger
    yield from _counts(ledger)
    for memory in ledger.memories:
        yield from _memory(ledger, memory)
    yield from _marks(ledger)
    yield from _still_there(ledger)


def _counts(ledger: Ledger) -> Iterator[Finding]:
    for (federation, window, outcome, reason, version), count in endings(ledger).items():
        is_whole = outcome in OUTCOMES - {"open"} and count > 0
        is_whole = is_whole and (version > 0) == (outcome == "counted") and bool(reason) == (outcome == "refused")
        if not is_whole or reason == "already-ended":
            said = f"{count} that were cleaned up are said to be {outcome!r} ({reason!r}) in release {version}."
            yield Finding("past-contradicts-itself", window_named(federation, window), said)
    for federation, version in sorted({(one.federation, one.version) for one in ledger.past if one.version}):
        if (federation, version) not in ledger.release_of:
            said = f"What was cleaned up was counted in release {version}, which is not in the ledger."
            yield Finding("past-contradicts-itself", federation, said)


def _memory(ledger: Ledger, memory: Memory) -> Iterator[Finding]:
    if bits(memory) & 1 == 0 or memory.mark < bits(memory).bit_length() - 1 or memory.settled < 0:
        said = f"Its mark is {memory.mark}, with {len(memory.ended)} bytes of marks, and {memory.settled} settled."
        yield Finding("past-contradicts-itself", memory.device, said)
    newest = max((one.named_window for one in ledger.past if one.federation == memory.federation), default=0)
    if memory.named_window > newest:
        said = f"One of its updates that were cleaned up names window {memory.named_window}, and none of all does."
        yield Finding("past-contradicts-itself", memory.device, said)
    if (memory.federation, memory.device) not in ledger.device_of:
        said = f"It is remembered, and not enrolled in {memory.federation}."
        yield Finding("device-unknown", memory.device, said)


def _marks(ledger: Ledger) -> Iterator[Finding]:
    """A counter is marked once, and each has its update; how many fewer marks there may be, counters used again say."""
    marked, gone = Counter[str](), Counter[str]()
    for memory in ledger.memories:
        marked[memory.federation] += bits(memory).bit_count()
    for (federation, *_), count in endings(ledger).items():
        gone[federation] += count
    for federation, number in sorted(marked.items()):
        if number > gone[federation]:
            said = f"{number} counters are marked, and {gone[federation]} updates were cleaned up."
            yield Finding("past-marks-more", federation, said)


def _still_there(ledger: Ledger) -> Iterator[Finding]:
    """Rows go in the transaction that marks them."""
    for row in ledger.updates:
        memory, counter = memories(ledger).get((row.federation, row.device)), counter_of(row)
        if memory and counter is not None and row.named_window <= memory.named_window and is_marked(memory, counter):
            said = f"The ledger has it, {row.outcome}, and counter {counter} is marked as one that was cleaned up."
            yield Finding("past-and-there", update_named(row.id), said)
