"""Write what was booked, each thing once, and say what the ledger then holds.

All bookings of a batch are one transaction, so one write to the disk serves them all. Each is keyed by what it is
about, an update or a window: it is inserted, or read back if it is there, and what is said is a function of the rows.
So a batch that is booked again after a crash changes nothing and says the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from mizzle.messages import (
    Abandonment,
    Candidate,
    Enrolment,
    Opening,
    Refusal,
    Sighting,
    Unauthenticated,
    Verdict,
)
from mizzle.transport import clock
from services.ledger import deliveries, past
from services.privacy_accountant import admission, closing, enrolment, opening, restoring
from services.privacy_accountant.charge import terms_of
from services.privacy_accountant.page import Page
from services.runtime.about import in_hand

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mizzle.messages import Message
    from mizzle.moves import Ground, Told
    from services.ledger.deliveries import Kind
    from services.ledger.ledger import Ledger
    from services.runtime.service import Booking

UNAUTHENTICATED: Final = "delivery.unauthenticated"

_log = structlog.get_logger()


def book(
    ledger: Ledger, ground: Ground, epoch: int, bookings: Sequence[Booking], now: Callable[[], int] = clock.now
) -> list[Message]:
    """Write the bookings in one transaction of the writer's `epoch`, and give what is to be said, in their order.

    With them go the rows of some updates that ended long ago, as many as a batch brings.

    Raises:
        Fenced: a successor writes. Away: the ledger's file cannot be written. In both cases nothing was.
    """
    if not bookings:
        return []
    said: list[Message] = []
    with ledger.write(epoch) as tx:
        page = Page(tx, ground, terms_of(ground.plan, ground.epoch), now())
        tally = deliveries.begin(tx, page.federation)
        said += restoring.end_what_was_open(page)
        for booking in bookings:
            in_hand(booking.told.message)
            kind, messages = _written(page, booking.told)
            said += messages
            if kind is None or not tally.add(kind, booking.stream, booking.entry):
                continue
            if isinstance(stranger := booking.told.message, Unauthenticated):
                page.audit_stranger(UNAUTHENTICATED, stranger.device, reason=stranger.reason)
        in_hand(None)
        deliveries.write(tx, page.federation, tally)
        past.tidy(tx, page.federation, page.now - ledger.retention_ms)
    return said


def _written(page: Page, told: Told) -> tuple[Kind | None, list[Message]]:
    """Which kind of delivery it was, if any, and what is said about it."""
    match told.message:
        case Verdict() as verdict:
            return admission.judged(page, verdict)
        case Refusal() as refusal:
            return admission.refused(page, refusal)
        case Unauthenticated():
            return "unauthenticated", []
        case Enrolment() as asked:
            return None, enrolment.enrolled(page, asked)
        case Opening() as asked:
            return None, [*restoring.spoken_of(page, asked.after), *opening.opened(page, asked)]
        case Candidate() as candidate:
            marked = restoring.spoken_of(page, candidate.aggregate.window)
            return None, [*marked, *closing.released(page, candidate, told.attached)]
        case Abandonment() as abandonment:
            marked = restoring.spoken_of(page, abandonment.window)
            return None, [*marked, *closing.abandoned(page, abandonment)]
        case Sighting() as sighting:
            return None, restoring.sighted(page, sighting)
        case other:
            _log.warning("nothing to book", message=type(other).__name__)
            return None, []
