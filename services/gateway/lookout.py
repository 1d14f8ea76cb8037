"""Looks out for releases that stand at the broker and not in the ledger: then the ledger is older than the world.

Nobody but the federation can have signed such a release, so the ledger that knew of it was lost, and another one was
put back by hand. The accountant is told, which releases nothing from then on; and what stands at the broker is not
replaced by something older, which every reader would have to take for a roll-back.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from mizzle import manifest, topics
from mizzle.errors import Away, Unreadable
from mizzle.messages import Sighting
from mizzle.transport.bus import Arrived

if TYPE_CHECKING:
    from collections.abc import Callable

    from mizzle.transport.bus import Bus, BusEvent

LOOKS_S: Final = 2.0
"""How long a broker may take to say what stands there before the mirror goes on without."""

_PAUSE_S: Final = 1.0

_log = structlog.get_logger()


@dataclass
class Lookout:
    """Hears every release that stands at the broker, or comes to stand there; `newest` is the newest that we signed.

    `known` gives the ledger's newest version, `tell` says what was seen to the accountant, `key` is the public key of
    releases.
    """

    back: Bus
    federation: str
    key: bytes
    known: Callable[[], int]
    tell: Callable[[Sighting], None]
    newest: int = -1
    _envelope: bytes = b""
    _told: int = -1
    _seen: threading.Event = field(default_factory=threading.Event)
    _looked: threading.Event = field(default_factory=threading.Event)

    def listen(self, event: BusEvent) -> None:
        """Hear from the line on which the gateway receives."""
        if not isinstance(event, Arrived) or event.topic not in {
            topics.release(self.federation),
            topics.state(self.federation),  # asked for after releases: once it comes, they have come
        }:
            return
        if event.topic == topics.release(self.federation):
            self._see(event.body)
            if event.token:
                self.back.ack(event.token)
        self._looked.set()

    def has_looked(self) -> bool:
        """Wait until the broker has said what stands there, for some time; whether it has."""
        return self._looked.wait(LOOKS_S)

    def run(self, stopping: Callable[[], bool]) -> None:
        """Tell of what the ledger does not know, until `stopping()`."""
        while not stopping():
            if not self._seen.wait(0.2):
                continue
            self._seen.clear()
            try:
                self._compare()
            except Away as away:
                _log.warning("the lookout waits", why=str(away))
                threading.Event().wait(_PAUSE_S)
                self._seen.set()

    def _see(self, body: bytes) -> None:
        try:
            envelope = manifest.from_cloud_event(body)
            version = manifest.authentic(envelope, [self.key], self.federation).version
        except Unreadable as error:
            _log.warning("what stands as a release is none of ours", why=str(error))
            return
        if version > self.newest:
            self.newest, self._envelope = version, envelope
            self._seen.set()

    def _compare(self) -> None:
        version, envelope = self.newest, self._envelope
        if version > max(self.known(), self._told):
            _log.critical("a release stands at the broker that the ledger does not know", version=version)
            self.tell(Sighting(manifest=envelope))
            self._told = version
