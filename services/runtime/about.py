"""What a line of a service's log is about: the window and the update in hand, by number and short id.

A log goes to people, so it holds no payload, no key, and nothing that an update contains: who, when and how it ended.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import structlog

from mizzle.messages import (
    Abandonment,
    Aggregate,
    Answer,
    Candidate,
    Charge,
    Closed,
    Decline,
    Exhausted,
    Halt,
    Message,
    Opening,
    Received,
    Refusal,
    Rejection,
    Release,
    Verdict,
    Window,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from structlog.typing import EventDict

TURNS: Final = (
    *(Opening, Window, Exhausted, Halt, Aggregate, Abandonment, Candidate, Release, Rejection, Closed, Refusal),
)
"""What happens a few times a window, and so has a line of its own; of each update there is one for who wants DEBUG."""

_log = structlog.get_logger()
_level = logging.getLogger(__name__)


def in_hand(message: Message | None) -> None:
    """Let every line of this thread be about `message`, until the next call; it is only looked at if there is one."""
    structlog.contextvars.bind_contextvars(about=message)


def with_subject(_logger: object, _method: str, event: EventDict) -> EventDict:
    """The line with what it is about, in place of the message in hand; what the line says itself comes first."""
    message = event.pop("about", None)
    return {**subject(message), **event} if isinstance(message, Message) else event


def told(messages: Iterable[Message]) -> None:
    """Log what was said: what happens to windows at INFO, what happens to each update at DEBUG."""
    everything = _level.isEnabledFor(logging.DEBUG)
    for message in messages:
        if isinstance(message, TURNS):
            _log.info("said", message=type(message).__name__, **subject(message))
        elif everything:
            _log.debug("said", message=type(message).__name__, **subject(message))


def short(update: bytes) -> str:
    """An update's id as people read it: its first 16 hexadecimal digits."""
    return update.hex()[:16]


def subject(message: Message) -> dict[str, Any]:
    """The window, update or release that a message is about."""
    match message:
        case Received(id=update, update=signed) | Verdict(id=update, update=signed) | Refusal(id=update, update=signed):
            return {"window": signed.window, "update": short(update)}
        case Charge(id=update, window=window):
            return {"window": window, "update": short(update)}
        case Answer(ends=bytes(update)):
            return {"update": short(update)}
        case Window(number=window):
            return {"window": window}
        case Opening(after=after):
            return {"window": after + 1}
        case Halt(after=after, reason=reason):
            return {"after": after, "reason": reason}
        case Candidate(release=Release(window=window, version=version)) | Release(window=window, version=version):
            return {"window": window, "version": version}
        case Closed(window=window, version=version):
            return {"window": window, "version": version}
        case Aggregate(window=window) | Abandonment(window=window) | Rejection(window=window) | Decline(window=window):
            return {"window": window}
        case _:
            return {}
