"""A service as small as can be, in the accountant's place: it books each delivery, and does what its reason says."""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct
from sqlalchemy import text

from mizzle.messages import Answer, Message, Unauthenticated
from mizzle.moves import Ground, Moved, Tick, Told
from services.ledger.ledger import Ledger
from services.pipeline import hop
from services.runtime.service import Booking, Service
from services.runtime.shell import serve

TABLE = "CREATE TABLE IF NOT EXISTS heard (device TEXT PRIMARY KEY, times INTEGER)"


class Count(Struct, frozen=True):
    """How many deliveries it has taken."""

    taken: int = 0


def begin(_ground: Ground) -> Count:
    """None are."""
    return Count()


def step(_ground: Ground, state: Count, event: Told | Tick) -> Moved[Count]:
    """Book each delivery; poison breaks it."""
    match event:
        case Told(message=Unauthenticated(reason="poison")):
            raise ValueError("poison")
        case Told(message=Unauthenticated() as message):
            return Moved(Count(state.taken + 1), booked=(message,))
        case _:
            return Moved(state)


def book(ledger: Ledger, _ground: Ground, epoch: int, bookings: Sequence[Booking]) -> Iterator[Message]:
    """Remember each device once, and answer it; at the reason "die", die once between ledger and Redis."""
    told = [booking.told.message for booking in bookings]
    heard = [message for message in told if isinstance(message, Unauthenticated)]
    with ledger.write(epoch) as tx:
        tx.execute(text(TABLE))
        for message in heard:
            again = "INSERT INTO heard VALUES (:device, 1) ON CONFLICT DO UPDATE SET times = times + 1"
            tx.execute(text(again), {"device": message.device})
    if any(message.reason == "die" for message in heard):
        die_once(Path(os.environ["MIZZLE_PAYLOADS"]) / "died")
    for message in heard:
        yield Answer(device=message.device, kind="receipt", sealed=b"")


def die_once(mark: Path) -> None:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve(Service(hop("privacy_accountant"), begin, step), book=book)
