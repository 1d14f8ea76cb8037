"""A device's log: what waits, what was answered, what was sent, how far its counter came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from sqlite3 import Connection

from .envelope import opened
from .sqlite import misfits, read, rows


@dataclass(frozen=True)
class Waiting:
    """An update without a receipt."""

    id: bytes
    window: int
    sealed: bytes
    payload: bytes


@dataclass(frozen=True)
class Kept:
    """A receipt that the device was given; the newest's number is how many there ever were."""

    number: int
    id: bytes
    window: int
    sealed: bytes


@dataclass(frozen=True)
class Sent:
    """An update was sent, for the first time or again."""

    id: bytes


@dataclass(frozen=True)
class Outbox:
    """One device's log at one instant."""

    home: str
    waiting: tuple[Waiting, ...]
    receipts: tuple[Kept, ...]
    sent: tuple[Sent, ...]
    memory: Mapping[str, object]
    misfits: tuple[str, ...]  # columns in which a row has a value of another type; such a row is left out

    @cached_property
    def device(self) -> str:
        """Whose log it is: by its identity, or by its folder where it has none yet."""
        identity = self.memory.get("identity")
        sealed = opened(identity) if isinstance(identity, bytes) else None
        return str(sealed.message.get("device", self.home)) if sealed else self.home

    @cached_property
    def forgotten(self) -> int:
        """How many updates were kept and neither wait nor have a receipt; nought where the log does not count."""
        kept, answered = self.memory.get("kept"), max((one.number for one in self.receipts), default=0)
        return kept - len(self.waiting) - answered if isinstance(kept, int) else 0

    @cached_property
    def waiting_ids(self) -> frozenset[bytes]:
        """The updates that wait."""
        return frozenset(one.id for one in self.waiting)

    @cached_property
    def receipt_ids(self) -> frozenset[bytes]:
        """The updates whose receipts are kept."""
        return frozenset(one.id for one in self.receipts)

    @cached_property
    def sent_ids(self) -> frozenset[bytes]:
        """The updates that were sent."""
        return frozenset(one.id for one in self.sent)


def read_outbox(path: Path) -> Outbox:
    """The log in this file; its device is called after the folder unless the log says its name."""
    with read(path) as line:
        return Outbox(
            home=path.parent.name,
            waiting=rows(line, "waiting", Waiting),
            receipts=rows(line, "receipts", Kept),
            sent=rows(line, "sent", Sent),
            memory=dict(line.execute("SELECT name, value FROM memory")),
            misfits=tuple(_misfits(line)),
        )


def _misfits(line: Connection) -> Iterator[str]:
    yield from misfits(line, "waiting", Waiting)
    yield from misfits(line, "receipts", Kept)
    yield from misfits(line, "sent", Sent)
