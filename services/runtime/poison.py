"""What no service can take: whether a device made it, and how its update ends all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mizzle.codec import decode_between_services
from mizzle.errors import Unreadable
from mizzle.messages import Decline, Enrolment, Message, Presence, Received, Refusal, Unauthenticated, Verdict
from mizzle.vocabulary import MOST_SENTENCE

if TYPE_CHECKING:
    from services.pipeline import Hop
    from services.runtime.redis_log import Entry

FROM_OUTSIDE: Final = (Enrolment, Presence, Decline, Received, Refusal, Unauthenticated, Verdict)
"""What a device said, or what was made of just that."""


def came_from_outside(entry: Entry) -> bool:
    """Whether a device made what is in this entry, so that it may be poison.

    What our own services decided is tried for ever: buried, it would leave a window that never ends.
    """
    message = message_in(entry)
    return message is None or isinstance(message, FROM_OUTSIDE)


def message_in(entry: Entry) -> Message | None:
    """The message that the entry is; None if it is none."""
    try:
        return decode_between_services(entry.body)
    except Unreadable:
        return None


def refusals(entry: Entry, place: Hop, why: str) -> list[Refusal]:
    """An update that could not be read still gets its outcome, if its header can be."""
    if Refusal not in place.says:
        return []
    try:
        message: Any = decode_between_services(entry.body)
        told = {"id": message.id, "update": message.update, "sealed": message.sealed}
        return [Refusal(**told, reason="unreadable", why=why[:MOST_SENTENCE])]
    except (Unreadable, AttributeError):
        return []
