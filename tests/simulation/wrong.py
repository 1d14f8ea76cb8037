"""Systems that are wrong on purpose, each in one way, to see that the oracle finds it (negative controls)."""

from collections.abc import Callable, Sequence

from sqlalchemy import text

from mizzle import parts
from mizzle.messages import Message, Verdict
from mizzle.moves import Ground
from mizzle.parts import First
from mizzle.transport.bus import BusEvent, Sent
from services.ledger.ledger import Ledger
from services.privacy_accountant.book import book
from services.runtime.service import Booking
from tests.simulation.around import Book
from tests.simulation.devices import Device
from tests.simulation.lines import Line


class HastyLine(Line):
    """A line whose device takes a PUBACK for a promise, and clears its update."""

    def __init__(self, device: Device, line: Line) -> None:
        super().__init__(line.inner, line._later, line._going, line._coming, heard=line._heard, reach=line._reach)
        self._device = device
        self._hopes: dict[str, bytes] = {}

    def publish(
        self, topic: str, body: bytes, *, retain: bool = False, content_type: str = "", lasting: bool = True
    ) -> int:
        if topic.endswith("/update") and isinstance(part := parts.read(body), First):
            self._hopes[topic] = part.envelope.id
        return super().publish(topic, body, retain=retain, content_type=content_type, lasting=lasting)

    def _tell(self, event: BusEvent) -> None:
        super()._tell(event)
        if isinstance(event, Sent) and event.topic in self._hopes:
            self._device.outbox.clear(self._hopes.pop(event.topic), b"")


def charging_each_delivery(
    ledger: Ledger, ground: Ground, epoch: int, bookings: Sequence[Booking], now: Callable[[], int]
) -> list[Message]:
    """The accountant without a key on its charges: whatever is delivered is charged."""
    with ledger.write(epoch) as tx:
        for booking in bookings:
            if isinstance(verdict := booking.told.message, Verdict):
                tx.execute(_CHARGE_AGAIN, {"id": verdict.id})
    return book(ledger, ground, epoch, bookings, now)


_CHARGE_AGAIN = text(
    'UPDATE budgets SET reserved = reserved + (SELECT loss FROM charges WHERE "update" = :id)'
    ' WHERE device = (SELECT device FROM charges WHERE "update" = :id)'
)


def deduplicating_in_silence() -> Book:
    """An accountant that takes each update once, and says nothing to one that it has seen."""
    seen: set[bytes] = set()

    def silent(
        ledger: Ledger, ground: Ground, epoch: int, bookings: Sequence[Booking], now: Callable[[], int]
    ) -> list[Message]:
        new = [one for one in bookings if not (isinstance(one.told.message, Verdict) and one.told.message.id in seen)]
        seen.update(one.told.message.id for one in new if isinstance(one.told.message, Verdict))
        return book(ledger, ground, epoch, new, now)

    return silent
