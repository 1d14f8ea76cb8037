"""What a loop asks of the log that it reads and writes.

`services.runtime.redis_log` is one in Redis; the simulation has one in memory. Both pass `tests/services/runtime/
test_logs.py`, which says in sentences what is relied on here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.runtime.redis_log import Entry, Output, Place


class Appends(Protocol):
    """A log that takes what comes from outside."""

    def append(self, outputs: Sequence[Output]) -> None:
        """Write all of it, or raise `Away` (`Full` where an output stream takes no more) and write nothing."""


class Log(Appends, Protocol):
    """The streams of one hop, and its own place among them; whatever it raises by itself is `Away`."""

    def take(self, epoch: int) -> Place:
        """Hold the hop's place under an epoch that the ledger has just issued; `Fenced` if a newer one holds it."""

    def read(self, cursors: Mapping[str, str], count: int, wait_ms: int) -> list[Entry]:
        """At most `count` entries of each stream after its cursor."""

    def commit(
        self, place: Place, state: bytes | None, cursors: Mapping[str, str], outputs: Sequence[Output] = ()
    ) -> Place:
        """Replace what `place` remembers and write `outputs`: all of it, or nothing and `Fenced` or `Full`."""

    def holder(self) -> int:
        """The epoch that holds the place now; 0 if nobody does."""

    def fence(self) -> tuple[int, int]:
        """The epoch and version that a commit must show now; 0 and 0 if nobody holds the place."""

    def tries(self, entry: Entry) -> int:
        """How often this entry has been begun, this time included."""

    def forget(self, entry: Entry) -> None:
        """Count no longer how often this entry was begun."""

    def dead(self, entry: Entry, service: str, why: str) -> Output:
        """The dead letter for an entry that nobody could read."""

    def beat(self, at: int, behind: Mapping[str, str]) -> None:
        """Say that the hop's loop turns, and how far it has read."""
