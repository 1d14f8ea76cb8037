"""The flow as data: which service reads which streams, what it says on which, and where it needs payloads.

    device ─▶ gateway ─received▶ anomaly_detector ─judged▶ privacy_accountant ─charged▶ aggregator ─combined▶ releaser
                                                                                                              │ booked
    everyone ◀─ gateway ◀─released, answered─ privacy_accountant ◀──────────────────────────────────────────────┘

Only the accountant's process writes the ledger. What another service wants remembered it *books*: it says so on the
stream `booked`, and the accountant's answer says what the ledger then holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mizzle.messages import (
    Abandonment,
    Aggregate,
    Answer,
    Candidate,
    Charge,
    Closed,
    Decline,
    Enrolment,
    Exhausted,
    Halt,
    Message,
    Opening,
    Presence,
    Received,
    Refusal,
    Rejection,
    Release,
    Resumption,
    Sighting,
    Unauthenticated,
    Verdict,
    Window,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Hop:
    """One service's place in the flow.

    `says` names the streams each message goes to; `reads_payload` the messages whose bytes it must see; `holds_back`
    how many entries it may read before it commits its state, which is worth it where the state is large.
    """

    service: str
    reads: tuple[str, ...]
    says: Mapping[type[Message], tuple[str, ...]]
    reads_payload: frozenset[type[Message]] = field(default_factory=frozenset)
    signs: str | None = None
    holds_back: int = 0


FLOW: Final = (
    Hop(
        service="gateway",
        reads=("answered", "released"),
        says={
            Received: ("received",),
            Refusal: ("refused",),
            Unauthenticated: ("refused",),
            Enrolment: ("booked",),
            Sighting: ("booked",),
            Presence: ("seen",),
            Decline: ("seen",),
        },
        reads_payload=frozenset({Release}),
    ),
    Hop(
        service="selector",
        reads=("seen", "opened"),
        says={Opening: ("booked",), Answer: ("answered",)},
        signs="invitation",
    ),
    Hop(
        service="anomaly_detector",
        reads=("received",),
        says={Verdict: ("judged",), Refusal: ("refused",)},
        reads_payload=frozenset({Received}),
    ),
    Hop(
        service="privacy_accountant",
        reads=("judged", "refused", "booked"),
        says={
            Charge: ("charged",),
            Window: ("charged", "opened"),
            Rejection: ("charged",),
            Closed: ("charged", "opened"),
            Halt: ("opened",),
            Exhausted: ("opened",),
            Release: ("released",),
            Resumption: ("released",),
            Answer: ("answered",),
        },
        reads_payload=frozenset({Candidate}),
        signs="receipt",
    ),
    Hop(
        service="aggregator",
        reads=("charged",),
        says={Aggregate: ("combined",), Abandonment: ("booked",)},
        reads_payload=frozenset({Window, Charge, Rejection}),
        holds_back=256,
    ),
    Hop(
        service="releaser",
        reads=("combined", "released"),
        says={Candidate: ("booked",)},
        signs="release",
    ),
)

DEAD: Final = "dead"
"""The stream of dead letters: entries that a service could not read three times, with the reason."""

STRAY: Final = "stray"
"""The dead letters of the gateway: what came from outside and was not taken, with the reason.

They stand apart, so that whoever sends many pushes out strays alone.
"""


def hop(service: str) -> Hop:
    """The place of `service` in the flow."""
    return next(place for place in FLOW if place.service == service)


def readers(stream: str) -> tuple[str, ...]:
    """The services that read `stream`: it is trimmed below the smallest of their cursors."""
    return tuple(place.service for place in FLOW if stream in place.reads)


def hears(place: Hop) -> frozenset[type[Message]]:
    """The messages that can reach a service by the streams it reads."""
    return frozenset(
        kind for other in FLOW for kind, streams in other.says.items() if not set(streams).isdisjoint(place.reads)
    )
