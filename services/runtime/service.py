"""What makes one service of the loop, where it remembers, and what it asks the ledger to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from mizzle.moves import Ground, Moved, Tick, Told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mizzle.messages import Message
    from services.pipeline import Hop
    from services.runtime.log import Log
    from services.runtime.payloads import Spool

S = TypeVar("S")


@dataclass(frozen=True)
class Booking:
    """What the ledger is asked to remember, and the entry that asked, by stream and id, so that it counts once."""

    told: Told
    stream: str = ""
    entry: str = ""


@dataclass(frozen=True)
class Service(Generic[S]):
    """What makes one service of the loop: its place in the flow, its beginning, its step, and what only some have.

    `book` writes bookings to the ledger in one transaction and answers with messages (the accountant); `tell` hands
    messages to the world and returns when the world has them, and `is_well` says whether its line to the world works,
    else the pulse stops (the gateway).
    """

    hop: Hop
    begin: Callable[[Ground], S]
    step: Callable[[Ground, S, Told | Tick], Moved[S]]
    book: Callable[[int, Sequence[Booking]], Iterable[Message]] | None = None
    tell: Callable[[Sequence[Message]], None] | None = None
    is_well: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class Stores:
    """Where a service remembers: the log, the spool of payloads, and what it may ask the ledger.

    `issue_epoch` is told in which epoch the asker had its place, 0 if it begins. `is_older_than` marks the ledger if it
    has not issued the epoch that it is asked of, and says whether it did. `is_another` says whether the ledger is not
    the one that we began with: then what Redis has may be of one that was lost.
    """

    log: Log
    spool: Spool
    issue_epoch: Callable[[int], int]
    facts: Callable[[], Iterable[Message]]
    blob: Callable[[bytes], bytes | None]
    is_older_than: Callable[[int], bool] = lambda _: False
    has_open_window: Callable[[], bool] = lambda: True
    is_another: Callable[[], bool] = lambda: False
