"""Rows of the ledger's books: losses, counts, what is left of what was cleaned up, and who did what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_DIGITS: Final = 19
"""No number of a window has more."""


@dataclass(frozen=True)
class Budget:
    """What a device has lost and may lose yet, over all its federations."""

    device: str
    settled: int
    reserved: int


@dataclass(frozen=True)
class Charge:
    """What one update costs its device, in 2^-32 of μ²."""

    update: bytes
    federation: str
    device: str
    window: int
    loss: int
    state: str
    version: int | None


@dataclass(frozen=True)
class Surcharge:
    """What a device may have lost in releases that a restored ledger does not know."""

    federation: str
    device: str
    restoration: int
    loss: int


@dataclass(frozen=True)
class Delivery:
    """How many deliveries of one kind were counted."""

    federation: str
    kind: str
    count: int


@dataclass(frozen=True)
class Past:
    """How many updates that named a window ended in one way, whose rows were cleaned up."""

    federation: str
    named_window: int
    outcome: str
    reason: str  # empty where there is none
    version: int  # 0 where it is in no release
    count: int


@dataclass(frozen=True)
class Memory:
    """Which of a device's updates were cleaned up, by their counters, and what their charges had settled."""

    federation: str
    device: str
    named_window: int
    mark: int
    ended: bytes
    settled: int


@dataclass(frozen=True)
class Restoration:
    """An older ledger took the place of a newer one: what the world has seen, and when it went on."""

    federation: str
    number: int
    at: int
    version: int
    window: int
    closed_at: int | None
    resumed_at: int | None
    because: str | None
    base_version: int | None


@dataclass(frozen=True)
class Act:
    """A row of the audit log."""

    seq: int
    federation: str
    at: int
    actor: str
    action: str
    subject: str
    body: str
    previous: bytes
    hash: bytes

    @property
    def number(self) -> int | None:
        """The window that it is about, if its subject is a number."""
        return int(self.subject) if self.subject.isdecimal() and len(self.subject) <= _DIGITS else None


@dataclass(frozen=True)
class Lease:
    """Who may write, since which epoch."""

    name: str
    epoch: int
