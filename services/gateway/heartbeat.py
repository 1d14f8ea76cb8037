"""A heartbeat through the broker and back: it shows that both lines, their threads and the intake work (FACTS 6)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

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
    """Says on one line that the gateway is there, on the federation's state topic, and listens on the other.

    It is "online" once a beat has come back, "joining" before: whoever reads "online" is heard. `at` is the server's
    clock at that moment, in milliseconds since 1970, for whoever wants to compare.
    """

    out: Bus
    back: Bus
    federation: str
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    seconds: Callable[[], float] = time.monotonic
    _due: float = 0.0
    _came_back: float = -FRESH_S

    def listen(self, event: BusEvent) -> None:
        """Hear from either line that a beat has come back, or that one is due at once."""
        if isinstance(event, Connected):
            self._due = 0.0
        if isinstance(event, Arrived) and event.topic == topics.state(self.federation):
            if _is_of(event.body, self.name):
                self._due = self._due if self.is_heard() else 0.0
                self._came_back = self.seconds()
            if event.token:
                self.back.ack(event.token)

    def beat(self) -> None:
        """Say that we are there, once a second at most; whoever's work must go on calls it."""
        if (now := self.seconds()) >= self._due:
            self._due = now + EVERY_S
            self._say("online" if self.is_heard() else "joining")

    def stop(self) -> None:
        """Say that we are gone, in order."""
        self._say("offline")

    def is_heard(self) -> bool:
        """Whether a beat has come back lately."""
        return self.seconds() - self._came_back < FRESH_S

    def _say(self, state: str) -> None:
        self.out.publish(topics.state(self.federation), _state(state, self.name), retain=True)


def _state(state: str, name: str) -> bytes:
    """What is said; the last will, which is made long before it is said, is of no instant."""
    at = {"at": time.time_ns() // 1_000_000} if name else {}
    return msgspec.json.encode({"gateway": name, "state": state, **at})


def _is_of(body: bytes, name: str) -> bool:
    """Whether it is a beat of this very gateway, not a goodbye or a former life's."""
    try:
        said = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return False
    return said.get("gateway") == name and said.get("state") in {"joining", "online"}
