"""What Mizzle asks of a message bus: publish, subscribe, acknowledge late, and tell when the line comes and goes.

`mizzle.transport.mqtt_bus` speaks MQTT 5 to a broker; `mizzle.transport.memory` is a bus within one process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

LINE_LOST: Final = 0x80
"""The reason of a publication that was not to outlast its line; the broker may have it or not."""


@dataclass(frozen=True)
class AckToken:
    """What acknowledges one delivery: worthless once its connection is gone, for message ids are dealt again."""

    generation: int
    mid: int


@dataclass(frozen=True)
class Connected:
    """The line is up. Without `session_present` the broker has forgotten our subscriptions and what it held for us."""

    session_present: bool


@dataclass(frozen=True)
class Disconnected:
    """The line is down; the bus tries again by itself, with backoff and jitter, until it is closed."""

    why: str


@dataclass(frozen=True)
class Arrived:
    """A message from the broker; with late acknowledgement it comes again until `ack(token)`."""

    topic: str
    body: bytes
    retained: bool = False
    token: AckToken | None = None


@dataclass(frozen=True)
class Sent:
    """The broker has taken a publication, which promises nothing durable; `reason` 0 and 16 are success."""

    topic: str
    mid: int
    reason: int


BusEvent = Connected | Disconnected | Arrived | Sent
"""What a bus tells its owner, one at a time and in order, from a thread of its own."""

Listener = Callable[[BusEvent], None]
"""Takes an event and returns at once (it usually puts it on a queue); it must not raise."""


@dataclass(frozen=True)
class Will:
    """What the broker publishes, retained, when we are gone without a word."""

    topic: str
    body: bytes


class Bus(Protocol):
    """A line to a broker. Everything goes at QoS 1; nothing blocks for longer than it takes to queue."""

    def open(self, listener: Listener) -> None:
        """Begin to connect, and tell `listener` everything from now on."""

    def publish(
        self, topic: str, body: bytes, *, retain: bool = False, content_type: str = "", lasting: bool = True
    ) -> int:
        """Queue a publication; `Sent` with the returned number tells when the broker has it.

        `content_type` is the media type of `body`, for readers who go by it; empty says none. What is not `lasting` is
        for the line that is up: if that is lost before the broker has said that it has it, or none is up, it is not
        sent again, and `Sent` says `LINE_LOST`. For what its owner will ask about, and say again if need be.
        """

    def subscribe(self, topic_filter: str) -> None:
        """Ask for what matches; asked again by the bus itself whenever the broker has forgotten."""

    def unsubscribe(self, topic_filter: str) -> None:
        """Ask for it no longer."""

    def ack(self, token: AckToken) -> None:
        """Acknowledge a delivery of this connection; of an older one: do nothing, it comes again."""

    def close(self) -> None:
        """Say goodbye (the will stays unsaid) and stop; waits a bounded time for what is queued."""
