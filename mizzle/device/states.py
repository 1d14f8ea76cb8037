"""What is true of a device: the states of its session, and what may be relied on in each.

Three things about a device change independently; every one of their combinations is ordinary.

**Does it belong?** A `Stranger` has a token and no identity. All it says is its enrolment, again and again, the same
bytes; all it believes is an identity that the key in its token has signed. A `Member` has one, and verifies everything
against the keys in it. A member never becomes a stranger again; a newer identity replaces the older.

**Is the line up?** While `online`, what is due is said. While it is not, nothing is said and nothing is lost: what
waits in the outbox is sent, all of it and oldest first, as soon as the line is up.

**What does it work on?** `Idle`: nothing. `Fetching`: it is invited and lacks the plan or the base model; they come in
pieces and are believed once they hash to what the signed invitation names. `Training`: the task is out of the session's
hands until `Trained` or `Declined` comes; the newest invitation since is queued behind it. An invitation is refused if
its window is not newer than the newest one seen, or its base version is older: whatever a broker plays back, it cannot
move a device backwards.

**What waits** is what lies in the outbox, so the session takes it from there: an update waits once the outbox has said
`Kept`, and no longer once it has said `Cleared`. In between it is said again at growing intervals, for ever: whole the
first time, from then on by a *probe*, its sealed header alone, byte for byte. What a probe is answered is a hint that
nobody has signed: it chooses which parts are sent, each at most once for a probe, and changes nothing else. While
nobody answers, probes go on alone, so that a gateway that is down costs a device no payload. Only a receipt for exactly
this update, signed by the federation, asks the outbox to clear it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mizzle.blobs import Assembly
from mizzle.device.effects import Effect
from mizzle.device.enrol import Token
from mizzle.device.events import Condition
from mizzle.envelope import Signer
from mizzle.messages import Identity, Invitation


@dataclass(frozen=True)
class Bounds:
    """What an outbox holds at most."""

    updates: int = 64
    size: int = 64 * 1024 * 1024


@dataclass(frozen=True)
class Me:
    """Who this device is, for life."""

    federation: str
    device: str
    key: Signer
    bounds: Bounds = Bounds()


@dataclass(frozen=True)
class Stranger:
    """It does not belong yet: its enrolment is said again when `due`."""

    token: Token
    enrolment: bytes
    attempts: int = 0
    due: int = 0


@dataclass(frozen=True)
class Member:
    """It belongs, and knows whom to believe."""

    identity: Identity


@dataclass(frozen=True)
class Idle:
    """It works on nothing."""


@dataclass(frozen=True)
class Fetching:
    """It is invited, and these blobs are still to come, by digest."""

    invitation: Invitation
    missing: Mapping[bytes, Assembly]


@dataclass(frozen=True)
class Training:
    """Its one task is being done; `queued` is the newest invitation since."""

    invitation: Invitation
    queued: Invitation | None = None


@dataclass(frozen=True)
class Waiting:
    """An update in the outbox: how long it is, how often it was said on this connection, and when it is due again.

    `sent` if it ever was to be, whole or in part. `given` are the parts that were sent because of its last probe, None
    without one on this connection.
    """

    id: bytes
    size: int
    attempts: int = 0
    due: int = 0
    sent: bool = False
    given: int | None = None


@dataclass(frozen=True)
class Newest:
    """The newest window invited to, and the newest base version seen."""

    window: int = 0
    version: int = 0


NOTHING_SEEN: Final = Newest()
"""Before the first invitation."""

NOTHING_FELT: Final = Condition()
"""How a device is before it has looked."""


@dataclass(frozen=True)
class Session:
    """A device as it is now; `now` is its own clock, which may be wrong but does not jump."""

    me: Me
    belonging: Stranger | Member
    counter: int
    newest: Newest = NOTHING_SEEN
    waiting: tuple[Waiting, ...] = ()
    online: bool = False
    work: Idle | Fetching | Training = Idle()
    blobs: Mapping[bytes, bytes] = field(default_factory=dict)
    condition: Condition = NOTHING_FELT
    now: int = 0
    entropy: bytes = b""


Moved = tuple[Session, tuple[Effect, ...]]
"""Where a session goes, and what it asks for on the way, in order."""
