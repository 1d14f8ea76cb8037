"""Deliver what services say: answers to single devices, releases to everyone.

A message is delivered when the broker has acknowledged it; only then does the stage move its cursor, so a crash
delivers again. That a device has got it is for the device to show: it goes on sending its update until the receipt is
there.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import Struct

from mizzle import topics
from mizzle.failpoints import failpoint
from mizzle.messages import Answer, Message, Release
from mizzle.moves import Ground, Moved, Tick, Told
from services.gateway.courier import Courier, Publication

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.gateway.mirror import Mirror
    from services.runtime.payloads import Spool


class Nothing(Struct, frozen=True):
    """What delivering needs to remember, beside its cursors."""


def begin(_ground: Ground) -> Nothing:
    """Nothing is remembered."""
    return Nothing()


def step(_ground: Ground, state: Nothing, event: Told | Tick) -> Moved[Nothing]:
    """Every answer and every release is said to the world, each time it is heard."""
    match event:
        case Told(message=Answer() | Release() as message):
            return Moved(state, said=(message,))
        case _:
            return Moved(state)


@dataclass(frozen=True)
class Delivery:
    """Tells devices and everyone else."""

    federation: str
    courier: Courier
    mirror: Mirror
    spool: Spool

    def tell(self, messages: Sequence[Message]) -> None:
        """Return once the broker has all of it.

        Raises:
            Away: it has not; what it has already it will be given again.
        """
        answers = [message for message in messages if isinstance(message, Answer)]
        # Nobody reads these payloads again (`Row.may_leave`). They go before the broker is waited for: a full payload
        # store stops the reading of the very socket on which the broker's acknowledgements come.
        for answer in answers:
            if answer.ends is not None:
                with failpoint("payload-discard"):
                    self.spool.discard(answer.ends)
        with failpoint("answer-publish") if answers else nullcontext():
            self.courier.deliver(
                Publication(topics.to(self.federation, answer.device, answer.kind), answer.sealed) for answer in answers
            )
        for message in messages:
            if isinstance(message, Release):
                self.mirror.show(message)
