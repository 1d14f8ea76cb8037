"""A heartbeat through the broker and back: it shows that network thread, line and intake still work (FACTS 6)."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from mizzle import topics
from mizzle.transport.bus import Arrived, Connected, Will

if TYPE_CHECKING:
    from mizzle.transport.bus import Bus, BusEvent

EVERY_S: Final = 1.0
FRESH_S: Final = 3.0


def will(federation: str) -> Will:
    """What the broker says of a gateway that has gone without a word."""
    return Will(topics.state(federation), _state("offline", ""))


@dataclass
class Heartbeat:
    """Says on the federation's state topic that the gateway is there, and listens for it to come back."""

    bus: Bus
    federation: str
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    _due: float = 0.0
    _came_back: float = -FRESH_S

    def listen(self, event: BusEvent) -> None:
        """Hear from the bus that a beat has come back."""
        topic = topics.state(self.federation)
        if isinstance(event, Connected):
            self._due = 0.0
        if isinstance(event, Arrived) and event.topic == topic:
            if event.body == self._beat:
                self._came_back = time.monotonic()
            if event.token:
                self.bus.ack(event.token)

    def beat(self) -> None:
        """Say that we are there, once a second at most; whoever's work must go on calls it."""
        if (now := time.monotonic()) >= self._due:
            self._due = now + EVERY_S
            self.bus.publish(topics.state(self.federation), self._beat, retain=True)

    def stop(self) -> None:
        """Say that we are gone, in order."""
        self.bus.publish(topics.state(self.federation), _state("offline", self.name), retain=True)

    def is_heard(self) -> bool:
        """Whether a beat has come back lately."""
        return time.monotonic() - self._came_back < FRESH_S

    @property
    def _beat(self) -> bytes:
        return _state("online", self.name)


def _state(state: str, name: str) -> bytes:
    return msgspec.json.encode({"gateway": name, "state": state})
