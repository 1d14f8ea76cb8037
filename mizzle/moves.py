"""What a pure step is given and what it gives back.

A service is a function `step(ground, state, event) -> Moved`. Time comes in as `Tick`, randomness with it, and what
others said as `Told`; nothing else goes in, so the same events make the same moves, whoever replays them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mizzle.envelope import Signer
from mizzle.messages import Message
from mizzle.plan import Plan

S = TypeVar("S")


@dataclass(frozen=True)
class Told:
    """A message, and the bytes it refers to, by update id or digest, where the pipeline says so."""

    message: Message
    attached: Mapping[bytes, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Tick:
    """Time passes: milliseconds since 1970-01-01 UTC, and 32 fresh bytes from the operating system.

    `tries` is more than 1 where a step from here was begun before and did not end: it raised, or was killed.
    """

    now: int
    entropy: bytes
    tries: int = 1


Event = Told | Tick


@dataclass(frozen=True)
class Moved(Generic[S]):
    """Where a step leads: the new state, what is said, what the ledger shall remember, and blobs to keep first.

    `noted` is what an operator shall read in the log, and nobody else: a plug-in that misbehaved.
    """

    state: S
    said: tuple[Message, ...] = ()
    booked: tuple[Message, ...] = ()
    kept: tuple[bytes, ...] = ()
    noted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ground:
    """What a service is given for life: it is no state, and nothing in it is committed.

    `signer` is the service's own key, where it has one; `seal_for_auditor` seals a noise key for the federation's
    auditor, or gives nothing where none is named. `epoch` is the parameter epoch that the federation is in.
    """

    plan: Plan
    model: bytes
    signer: Signer
    seal_for_auditor: Callable[[bytes], bytes]
    epoch: int = 0
