"""Publications on their way to the broker, a few at a time, and the wait until it has them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from mizzle.errors import Away
from mizzle.transport.bus import Connected, Disconnected, Sent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mizzle.transport.bus import Bus, BusEvent

PATIENCE_S: Final = 10.0
"""How long the broker may take for a group of publications before we say that it is away."""

_GROUP: Final = 100
_TAKEN: Final = frozenset({0x00, 0x10})  # success; success, and nobody listens just now


@dataclass(frozen=True)
class Publication:
    """Bytes for a topic; retained and empty, they clear it."""

    topic: str
    body: bytes
    retain: bool = False
    content_type: str = ""


@dataclass
class _Group:
    """Publications that are awaited together: their topics by number, and what became of those that are settled."""

    topics: dict[int, str] = field(default_factory=dict)
    reasons: dict[int, int] = field(default_factory=dict)

    def is_settled(self) -> bool:
        return len(self.reasons) == len(self.topics)


class Courier:
    """Takes publications to the broker; safe to use from several threads."""

    def __init__(self, bus: Bus, patience_s: float = PATIENCE_S) -> None:
        self._bus, self._patience_s = bus, patience_s
        self._changed = threading.Condition(threading.RLock())
        self._awaited: dict[int, _Group] = {}
        self._early: dict[int, int] | None = None
        self._line: str | None = "the line to the broker has not come up yet"

    def listen(self, event: BusEvent) -> None:
        """Hear from the bus what became of publications, and of the line."""
        with self._changed:
            match event:
                case Sent(mid=number, reason=reason) if (waited := self._awaited.get(number)) is not None:
                    waited.reasons[number] = reason
                    if waited.is_settled():  # whoever waits is not to wake for each
                        self._changed.notify_all()
                case Sent(mid=number, reason=reason) if self._early is not None:
                    self._early[number] = reason
                case Connected():
                    self._line = None
                case Disconnected(why=why):
                    self._line = f"the line to the broker is down: {why}"

    def deliver(self, publications: Iterable[Publication]) -> None:
        """Return once the broker has all of them.

        Raises:
            Away: the line is down, or the broker did not take one in time; it may still get them, and will again.
        """
        waiting = iter(publications)
        while group := tuple(islice(waiting, _GROUP)):
            self._deliver(group)

    def _deliver(self, group: Sequence[Publication]) -> None:
        with self._changed:
            if self._line:
                raise Away(self._line)
            waited = self._said(group)
            self._awaited |= dict.fromkeys(waited.topics, waited)
            try:
                self._changed.wait_for(waited.is_settled, self._patience_s)
                _refuse(waited, self._patience_s)
            finally:
                for number in waited.topics:
                    del self._awaited[number]

    def _said(self, group: Sequence[Publication]) -> _Group:
        """Publish them; a bus within this process may say that one is sent before we know what to wait for."""
        early: dict[int, int] = {}
        self._early = early
        try:
            topics = {_said(self._bus, one): one.topic for one in group}
        finally:
            self._early = None
        return _Group(topics, {number: reason for number, reason in early.items() if number in topics})


def _said(bus: Bus, one: Publication) -> int:
    return bus.publish(one.topic, one.body, retain=one.retain, content_type=one.content_type)


def _refuse(waited: _Group, patience_s: float) -> None:
    for number, topic in waited.topics.items():
        reason = waited.reasons.get(number)
        if reason is None:
            raise Away(f"the broker was to take what is said on {topic} within {patience_s} s and did not")
        if reason not in _TAKEN:
            raise Away(f"the broker did not take what is said on {topic}: reason {reason:#x}; see its log and its acl")
