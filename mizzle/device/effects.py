"""What a device's session asks for; to be done in the order given."""

from __future__ import annotations

from dataclasses import dataclass

from mizzle.messages import Invitation
from mizzle.parts import ALL
from mizzle.plan import Plan
from mizzle.transport.bus import Will


@dataclass(frozen=True)
class Open:
    """Open the line with this last will, instead of any line that is open."""

    will: Will | None


@dataclass(frozen=True)
class Subscribe:
    """Ask the broker for what matches, retained messages included."""

    topic_filter: str


@dataclass(frozen=True)
class Unsubscribe:
    """Ask for it no longer."""

    topic_filter: str


@dataclass(frozen=True)
class Publish:
    """Say this."""

    topic: str
    body: bytes
    retain: bool = False


@dataclass(frozen=True)
class Keep:
    """Put an update into the outbox, and with it what its codec lost; the answer is `Kept` or `Full`."""

    id: bytes
    window: int
    sealed: bytes
    payload: bytes
    lost: bytes = b""


@dataclass(frozen=True)
class Send:
    """Publish parts of this update as they lie in the outbox: those whose bit is set in `parts`."""

    id: bytes
    parts: int = ALL


@dataclass(frozen=True)
class Probe:
    """Publish the sealed header of this update alone, unless parts of it are on their way just now."""

    id: bytes


@dataclass(frozen=True)
class Clear:
    """Put this receipt into the outbox in place of its update; the answer is `Cleared`."""

    id: bytes
    receipt: bytes


@dataclass(frozen=True)
class Remember:
    """Keep this sealed identity: whatever else is forgotten, the device belongs."""

    identity: bytes


@dataclass(frozen=True)
class Accept:
    """Keep the newest window invited to and base version seen, so that neither is ever gone back on."""

    window: int
    version: int


@dataclass(frozen=True)
class Train:
    """Do this task; the answer is `Trained` or `Declined`, some time.

    `lost` is what the codec has lost so far, as the outbox remembers it; whoever performs this puts it in.
    """

    invitation: Invitation
    plan: Plan
    model: bytes
    lost: bytes = b""


@dataclass(frozen=True)
class Note:
    """Something for the log; nothing has changed by it."""

    reason: str


Effect = Open | Subscribe | Unsubscribe | Publish | Keep | Send | Probe | Clear | Remember | Accept | Train | Note
