"""When a line that was lost is tried again: soon after a moment, seldom after a night, never by all at the same moment.

Those who lost their lines together must not come back together. What a device does about it, with nothing but a clock:

- Its first try is drawn from the whole of a *span*, which gives it its place among all the others.
- Every later one is due a whole span after the one before was due, however long that took, so that it keeps its place:
  within any span each of them tries once, as evenly as chance has spread them. Whenever the way opens again, all are
  back within about a span, as many in one second of it as in another. Pauses drawn afresh each time ("full jitter")
  bring twice the average in the first second; pauses counted from the end of a try gather those whom the same thing
  has delayed, and keep them together from then on.
- The span is a second, and later a quarter of the time away, up to a bound: who was away for a minute is back within
  fifteen seconds.
- Whoever has reached somebody draws a new place: the end of that may have befallen all at the same moment.

[Brooker 2015, Exponential Backoff And Jitter, AWS Architecture Blog], and docs/adr/0020 for what is different.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

LONGEST_S: Final = 30.0
"""A device's longest pause: a fleet of 10,000 that comes back from a long absence is 333 connections a second."""

SHORTEST_S: Final = 1.0
"""A line that was lost for a moment is tried again within so much."""

_SHARE: Final = 0.25


@dataclass(frozen=True)
class Attempt:
    """One try, between two instants in seconds: whether it reached anybody, and whether a broker let it in."""

    began: float
    ended: float
    was_reached: bool = False
    was_let_in: bool = False


@dataclass(frozen=True)
class Backoff:
    """A line that has been away since `lost` and is tried again at `due`, in seconds; spans are `longest_s` at most.

    `has_place` once a try was drawn since anybody was reached; before that `due` means nothing.
    """

    lost: float
    longest_s: float = LONGEST_S
    due: float = 0.0
    has_place: bool = False

    def after(self, attempt: Attempt, chance: float) -> Self:
        """When to try again after a try that has come to its end; `chance` lies between 0 and 1, evenly."""
        lasted, span = attempt.ended - attempt.began, span_s(attempt.began - self.lost, self.longest_s)
        lost = attempt.ended if attempt.was_let_in and lasted > span else self.lost  # else it was thrown out at once
        if self.has_place and not attempt.was_reached:
            return replace(self, due=self._next_after(attempt.ended))
        due = attempt.ended + chance * span_s(attempt.ended - lost, self.longest_s)
        return replace(self, lost=lost, due=due, has_place=True)

    def _next_after(self, moment: float) -> float:
        due = self.due
        while due <= moment:
            due += span_s(due - self.lost, self.longest_s)
        return due


def span_s(away_s: float, longest_s: float = LONGEST_S) -> float:
    """Within how many seconds those try again, each once, who have been away for so many."""
    return min(max(SHORTEST_S, _SHARE * away_s), longest_s)
