"""Rows of an earlier copy that are gone: each is marked and counted in what is left, and nothing of that shrinks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .books import Memory
from .finding import Finding, update_named, window_named
from .ledger import Ledger
from .past import REACH, Ending, bits, counter_of, ending_of, endings, has_ended, memories, settled
from .rows import Update


def gone(old: Ledger, new: Ledger) -> Iterator[Finding]:
    """What was cleaned up since, and is not all there in what is left of it."""
    rows = [row for row in old.updates if row.id not in new.update_of]
    for row in rows:
        if not is_cleaned(new, row):
            said = f"The earlier copy has it, {row.outcome}, and its counter is not among those that were cleaned up."
            yield Finding("update-gone", update_named(row.id), said)
    cleaned = [row for row in rows if is_cleaned(new, row)]
    yield from _uncounted(old, new, cleaned)
    yield from _unsettled(old, new, cleaned)
    yield from _lowered(old, new)


def is_cleaned(new: Ledger, row: Update) -> bool:
    """Whether this row of the earlier copy is gone, and what is left says that its update has ended."""
    memory, counter = memories(new).get((row.federation, row.device)), counter_of(row)
    return row.id not in new.update_of and counter is not None and has_ended(memory, counter, row.named_window)


def _uncounted(old: Ledger, new: Ledger, rows: list[Update]) -> Iterator[Finding]:
    """Those that had ended went as they had; those that were open went in some way."""
    more = Counter(endings(new))
    more.subtract(endings(old))
    ended = Counter[Ending](ending_of(row) for row in rows if row.outcome != "open")
    for ending, number in ended.items():
        if more[ending] < number:
            said = (
                f"{number} that were {ending[2]} are gone since the earlier copy, and {more[ending]} more are counted."
            )
            yield Finding("past-short", window_named(ending[0], ending[1]), said)
    alike = Counter[tuple[str, int]]()
    for (federation, window, *_), number in more.items():
        alike[federation, window] += number
    for place, number in Counter((row.federation, row.named_window) for row in rows).items():
        if alike[place] < number:
            said = f"{number} rows are gone since the earlier copy, and {alike[place]} more are counted."
            yield Finding("past-short", window_named(*place), said)


def _unsettled(old: Ledger, new: Ledger, rows: list[Update]) -> Iterator[Finding]:
    """What the charges had settled that went with their updates is settled still."""
    went = Counter[tuple[str, str]]()
    for row in rows:
        charge = old.charge_of.get(row.id)
        went[row.federation, row.device] += charge.loss if charge and charge.state == "settled" else 0
    for (federation, device), loss in went.items():
        more = settled(new, device, federation) - settled(old, device, federation)
        if more < loss:
            said = f"Charges of {loss} are gone since the earlier copy, and {more} more is settled by what is left."
            yield Finding("past-short", device, said)


def _lowered(old: Ledger, new: Ledger) -> Iterator[Finding]:
    for (federation, device), before in memories(old).items():
        now = memories(new).get((federation, device))
        if now is None or _is_lower(before, now):
            said = f"Its mark was {before.mark} and {before.settled} settled; now it is {now and now.mark}"
            yield Finding("past-lowered", device, f"{said} and {now and now.settled}, or a counter is marked no more.")
    for ending, number in endings(old).items():
        if endings(new).get(ending, 0) < number:
            said = f"{number} that were cleaned up were {ending[2]}, and now it is {endings(new).get(ending, 0)}."
            yield Finding("past-lowered", window_named(ending[0], ending[1]), said)


def _is_lower(before: Memory, now: Memory) -> bool:
    """A number that went back, or a mark that is not there though the bitmap reaches as far."""
    if now.mark < before.mark or now.named_window < before.named_window or now.settled < before.settled:
        return True
    shift = now.mark - before.mark
    if shift > REACH:
        return False
    return bool(bits(before) << shift & ~bits(now) & (1 << REACH) - 1)
