"""Receive what devices publish: every rule by which it is believed, put together and handed on, or is not.

Nothing is kept or passed on for anybody whose enrolled key has not signed it, but for an enrolment, which brings its
key and proves that it has it. An update comes in parts (`mizzle.parts`); a device has one incomplete update at a time,
and what was not completed within a minute is forgotten: the device sends all of it again until it has a receipt.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from mizzle import parts
from mizzle.codec import decode
from mizzle.envelope import MOST_HEADER, Envelope, Purpose, unseal
from mizzle.errors import Forged, Unreadable
from mizzle.messages import Decline, Enrolment, Message, Presence, Received, Refusal, Unauthenticated, Update
from mizzle.parts import CHUNK, First
from mizzle.topics import Up, UpTopic, parse_up
from services.gateway.allowance import Allowances

if TYPE_CHECKING:
    from mizzle.plan import Plan

EXPIRES_MS: Final = 60_000
MOST_ARRIVING: Final = 256 * 1024 * 1024
MOST_ENROLMENT: Final = 512
"""The header of an enrolment is read before anybody has vouched for it; with the longest names it has 254 bytes."""
FLOOD: Final = "flood"
NOBODY: Final = "-"
"""Who published on a topic that names no device."""

M = TypeVar("M", Enrolment, Presence, Decline, Update)


@dataclass(frozen=True)
class Came:
    """What the broker brought at `now`, in milliseconds since 1970; `key` is the enrolled key of the topic's device."""

    topic: str
    body: bytes
    key: bytes | None
    now: int


@dataclass(frozen=True)
class Payload:
    """An update's payload, complete and hashed, to be stored under the update's id before anybody hears of it."""

    id: bytes
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Taken:
    """What becomes of what came.

    If nothing does, or not what its sender hoped, `reason` is one word for it and `why` a sentence for people. What is
    `counted` alone is one of very many like it: a figure grows, and nothing is said or kept.
    """

    said: tuple[Message, ...] = ()
    payload: Payload | None = None
    reason: str = ""
    why: str = ""
    counted: bool = False

    @property
    def is_stray(self) -> bool:
        """Whether it ends here, without an outcome for its sender: then it is to be kept as a dead letter."""
        return bool(self.reason) and not self.counted and not any(isinstance(message, Refusal) for message in self.said)


@dataclass
class Coming:
    """An update whose signed header is authentic and whose parts have not all come."""

    received: Received
    began: int
    chunks: dict[int, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How long its payload will be, by its signed header."""
        return self.received.update.payload.size


@dataclass
class Arrivals:
    """The updates that are coming, one per device, oldest first; `held` bytes are promised to them.

    `allowances` are how much each device may still say.
    """

    federation: str
    most_payload: int
    most_bytes: int = MOST_ARRIVING
    held: int = 0
    coming: dict[str, Coming] = field(default_factory=dict)
    allowances: Allowances = field(default_factory=Allowances)

    def begin(self, received: Received, now: int) -> Coming:
        """The device's update from now on; what it had begun before goes, and the oldest of others for want of room."""
        device = received.update.device
        known = self.coming.get(device)
        if known and known.received.id == received.id:
            return known
        self.end(device)
        self.coming[device] = begun = Coming(received, now)
        self.held += begun.size
        while self.held > self.most_bytes and len(self.coming) > 1:
            self.end(next(iter(self.coming)))
        return begun

    def end(self, device: str) -> None:
        """Nothing more is waited for from this device."""
        ended = self.coming.pop(device, None)
        self.held -= ended.size if ended else 0

    def forget(self, now: int) -> None:
        """Forget what has been coming for too long."""
        while self.coming:
            device, oldest = next(iter(self.coming.items()))
            if now - oldest.began < EXPIRES_MS:
                return
            self.end(device)


def begin(plan: Plan) -> Arrivals:
    """Nothing has come yet; no payload is longer than the model as 32-bit floats and what a code may add."""
    return Arrivals(plan.federation, most_payload=4 * plan.model.parameters + 4096)


def sender(topic: str) -> UpTopic | None:
    """Which device published on `topic`, and what kind; None if no device does."""
    try:
        return parse_up(topic)
    except Unreadable:
        return None


def receive(arrivals: Arrivals, came: Came) -> Taken:
    """What is said of what came, and the payload if an update is now complete."""
    arrivals.forget(came.now)
    topic = sender(came.topic)
    if topic is None or topic.federation != arrivals.federation:
        return _unauthenticated(NOBODY, "topic", f"no device of {arrivals.federation} publishes on {came.topic!r}")
    if excess := _excess(arrivals, topic.device, came.now):
        return excess
    try:
        return _by_kind(arrivals, topic, came)
    except Forged as error:
        return _unauthenticated(topic.device, "forged", str(error))
    except Unreadable as error:
        return _unauthenticated(topic.device, "unreadable", str(error))


def _excess(arrivals: Arrivals, device: str, now: int) -> Taken | None:
    """What becomes of a message that is more than its device may say; None if it may."""
    match arrivals.allowances.spend(device, now):
        case "fair":
            return None
        case "too much":
            limit = arrivals.allowances.a_second
            why = f"{device} says more than {limit} messages a second: what is beyond is not read, for this second"
            return _unauthenticated(device, FLOOD, why)
        case "and more":
            return Taken(reason=FLOOD, counted=True)


def _by_kind(arrivals: Arrivals, topic: UpTopic, came: Came) -> Taken:
    if topic.kind is Up.ENROL:
        return _enrolment(topic, _whole(came.body))
    if topic.kind is Up.PROBE:
        return _stray("probe", "this gateway answers no probes, the device will send its update")
    if came.key is None:
        return _unauthenticated(topic.device, "unknown", f"{topic.device} is not enrolled")
    match topic.kind:
        case Up.PRESENCE:
            return Taken((_authentic(topic, _whole(came.body), came.key, Purpose.PRESENCE, Presence),))
        case Up.DECLINE:
            return Taken((_authentic(topic, _whole(came.body), came.key, Purpose.DECLINE, Decline),))
        case Up.UPDATE:
            return _part(arrivals, topic, came.key, came)


def _enrolment(topic: UpTopic, envelope: Envelope) -> Taken:
    """The one message that is decoded before it is verified: the key is in it."""
    claimed = decode(envelope.header, Enrolment, MOST_ENROLMENT)
    return Taken((_authentic(topic, envelope, claimed.public_key, Purpose.ENROLMENT, Enrolment),))


def _part(arrivals: Arrivals, topic: UpTopic, key: bytes, came: Came) -> Taken:
    part = parts.read(came.body)
    if not isinstance(part, First):
        coming = arrivals.coming.get(topic.device)
        if coming is None or coming.received.id != part.id:
            return _stray("orphan", f"part {part.index} of update {part.id.hex()[:16]}, whose first part is not here")
        return _added(arrivals, coming, part.index, part.chunk)
    update = _authentic(topic, part.envelope, key, Purpose.UPDATE, Update)
    identity = part.envelope.id
    if update.payload.size > arrivals.most_payload:
        why = f"a payload is at most {arrivals.most_payload} bytes long, {update.payload.size} were announced"
        refusal = Refusal(id=identity, update=update, sealed=part.sealed, reason="oversized", why=why)
        return Taken((refusal,), reason="oversized", why=why)
    coming = arrivals.begin(Received(id=identity, update=update, sealed=part.sealed), came.now)
    return _added(arrivals, coming, 0, part.chunk)


def _added(arrivals: Arrivals, coming: Coming, index: int, chunk: bytes) -> Taken:
    received, count = coming.received, parts.count(coming.size)
    device, wanted = received.update.device, min(CHUNK, coming.size - index * CHUNK)
    if not 0 <= index < count or len(chunk) != wanted:
        why = f"part {index} of a payload of {coming.size} bytes has {len(chunk)} bytes, wanted {max(wanted, 0)}"
        return _unauthenticated(device, "payload", why)
    coming.chunks[index] = chunk
    if len(coming.chunks) < count:
        return Taken()
    arrivals.end(device)
    payload = b"".join(coming.chunks[at] for at in range(count))
    if hashlib.sha256(payload).digest() != received.update.payload.digest:
        return _unauthenticated(device, "payload", f"update {received.id.hex()[:16]}: its parts hash to another digest")
    return Taken((received,), Payload(received.id, payload))


def _whole(body: bytes) -> Envelope:
    envelope = unseal(body)
    if envelope.size != len(body):
        raise Unreadable(f"an envelope of {envelope.size} bytes was wanted and nothing after it, got {len(body)} bytes")
    return envelope


def _authentic(topic: UpTopic, envelope: Envelope, key: bytes, purpose: Purpose, kind: type[M]) -> M:
    """The message in the envelope, if `key` signed it for this purpose and it is the topic's own device that speaks."""
    if envelope.purpose is not purpose:
        raise Forged(f"what is published as {topic.kind} is sealed as {purpose.name}, got {envelope.purpose.name}")
    envelope.verify(key)
    message = decode(envelope.header, kind, MOST_HEADER)
    if (message.federation, message.device) != (topic.federation, topic.device):
        spoken, heard = f"{message.federation}/{message.device}", f"{topic.federation}/{topic.device}"
        raise Forged(f"{spoken} signed what was published as {heard}: a copy, or two devices with one key")
    return message


def _stray(reason: str, why: str) -> Taken:
    """What is neither believed nor a forgery: it is no delivery of an update."""
    return Taken(reason=reason, why=why)


def _unauthenticated(device: str, reason: str, why: str) -> Taken:
    return Taken((Unauthenticated(device=device, reason=reason),), reason=reason, why=why)
