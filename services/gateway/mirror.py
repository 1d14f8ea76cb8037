"""What stands retained at the broker for everyone: the plan, the first model, the newest releases.

A broker is a mirror that may lose its newest retained messages (FACTS 1), even where it kept the sessions, so all of it
is put up again from the ledger whenever the line comes up.
"""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import msgspec
import structlog

from mizzle import blobs, topics
from mizzle.errors import Away
from mizzle.failpoints import failpoint
from mizzle.manifest import EVENT_CONTENT_TYPE, Manifest, cloud_event
from mizzle.transport.bus import Connected
from services.gateway.courier import Courier, Publication

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mizzle.messages import Release
    from mizzle.transport.bus import BusEvent
    from services.runtime.equipment import Equipment

_CLEARED_AT_ONCE: Final = 64
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0

_log = structlog.get_logger()


@dataclass(frozen=True)
class Originals:
    """Where the mirrored things are kept: the plan and first model by their bytes, releases and blobs in the ledger.

    `releases(n)` are the newest n, in any order.
    """

    federation: str
    plan: tuple[bytes, bytes]
    model: tuple[bytes, bytes]
    releases: Callable[[int], Sequence[Release]]
    blob: Callable[[bytes], bytes | None]
    keep: int

    @classmethod
    def of(cls, equipment: Equipment) -> Self:
        """The originals of the federation that this equipment is for."""
        ground, ledger = equipment.ground, equipment.ledger
        return cls(
            federation=ground.plan.federation,
            plan=(ground.plan.digest, ground.plan.canonical),
            model=(ground.plan.model.digest, ground.model),
            releases=ledger.releases,
            blob=ledger.blob,
            keep=equipment.settings.keep_releases,
        )


@dataclass
class Mirror:
    """Puts up what stands for everyone, and takes down what is too old.

    It waits until `has_looked` before it puts up anything, and announces nothing that is older than `newest_out`.
    """

    originals: Originals
    courier: Courier
    has_looked: Callable[[], bool] = lambda: True
    newest_out: Callable[[], int] = lambda: -1
    _announcing: threading.Lock = field(default_factory=threading.Lock)
    _announced: int = -1
    _wanted: threading.Event = field(default_factory=threading.Event)

    def listen(self, event: BusEvent) -> None:
        """Hear from the bus when the line comes up."""
        if isinstance(event, Connected):
            self._wanted.set()

    def run(self, stopping: Callable[[], bool]) -> None:
        """Put everything up whenever the line has come up, until `stopping()`."""
        pause_s = _FIRST_PAUSE_S
        while not stopping():
            if not self._wanted.wait(0.2):
                continue
            self._wanted.clear()
            self.has_looked()
            try:
                with failpoint("mirror-refresh"):
                    self.refresh()
                pause_s = _FIRST_PAUSE_S
            except Away as away:
                _log.warning("the mirror waits", why=str(away), seconds=pause_s)
                threading.Event().wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                self._wanted.set()

    def refresh(self) -> None:
        """Put up the plan, the first model and the newest releases, oldest first; take down those before them."""
        for digest, body in (self.originals.plan, self.originals.model):
            self.courier.deliver(self._pieces(digest, body))
        kept, old = self._kept(_CLEARED_AT_ONCE)
        for release in reversed(kept):
            self._put_up(release)
        self._take_down(kept, old)
        if kept:
            self._announce(kept[0])

    def show(self, release: Release) -> None:
        """Put up a release: its blobs, then its event unless a newer one is announced; then take down the oldest."""
        self._put_up(release)
        self._announce(release)
        self._take_down(*self._kept(1))

    def _kept(self, more: int) -> tuple[list[Release], list[Release]]:
        keep = self.originals.keep
        found = sorted(self.originals.releases(keep + more), key=lambda release: -release.version)
        return found[:keep], found[keep:]

    def _put_up(self, release: Release) -> None:
        model = self.originals.blob(release.model.digest)
        if model is None:
            raise Away(f"the ledger has no model {release.model.digest.hex()} of release {release.version}")
        with failpoint("release-blobs"):
            self.courier.deliver(self._pieces(release.model.digest, model))
            self.courier.deliver(self._pieces(release.manifest_digest, release.manifest))

    def _announce(self, release: Release) -> None:
        federation = self.originals.federation
        with self._announcing:
            if release.version < max(self._announced, self.newest_out()):
                return
            event = cloud_event(federation, release.manifest, _manifest(release.manifest))
            told = Publication(topics.release(federation), event, retain=True, content_type=EVENT_CONTENT_TYPE)
            with failpoint("release-announce"):
                self.courier.deliver([told])
            self._announced = release.version

    def _take_down(self, kept: Sequence[Release], old: Sequence[Release]) -> None:
        wanted = {self.originals.plan[0], self.originals.model[0], *(release.model.digest for release in kept)}
        for release in old:
            blobs_of = {release.model.digest: release.model.size, release.manifest_digest: len(release.manifest)}
            for digest in blobs_of.keys() - wanted:
                self.courier.deliver(self._clearing(digest, blobs_of[digest]))

    def _pieces(self, digest: bytes, body: bytes) -> Iterator[Publication]:
        for index, piece in enumerate(blobs.pieces(body)):
            yield Publication(topics.blob(self.originals.federation, digest, index), piece, retain=True)

    def _clearing(self, digest: bytes, size: int) -> Iterator[Publication]:
        for index in range(max(1, -(-size // blobs.PIECE))):
            yield Publication(topics.blob(self.originals.federation, digest, index), b"", retain=True)


def _manifest(envelope: bytes) -> Manifest:
    """What a signed manifest says; it comes from the ledger, so it is not verified again."""
    payload = base64.b64decode(msgspec.json.decode(envelope)["payload"])
    return msgspec.json.decode(payload, type=Manifest)
