"""Receive what devices publish: every rule by which it is believed, put together and handed on, or is not.

Nothing is kept or passed on for anybody whose enrolled key has not signed it, but for an enrolment, which brings its
key and proves that it has it. An update comes in parts (`mizzle.parts`). Each part but the last is to be stored before
it is acknowledged, so that a gateway that begins again resumes at the first one missing; a device has one incomplete
update at a time, and what has had no new part for a while is forgotten. A device that comes back asks first, by a
probe, what became of its update, and is answered with the receipt, with `Held` or with the parts that are missing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeVar

from mizzle import parts
from mizzle.codec import decode, encode
from mizzle.envelope import MOST_HEADER, Envelope, Purpose, unseal
from mizzle.errors import Forged, Unreadable
from mizzle.messages import (
    Decline,
    Enrolment,
    Held,
    Message,
    Presence,
    Received,
    Refusal,
    Unauthenticated,
    Update,
    Want,
)
from mizzle.parts import CHUNK, First
from mizzle.topics import Up, UpTopic, parse_up
from services.gateway.allowance import Allowances

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mizzle.plan import Plan

EXPIRES_MS: Final = 900_000
"""The longest pause that a device makes between two probes: it finds what it has sent, if nobody needs the room."""

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
    body: bytes | memoryview = field(repr=False)


@dataclass(frozen=True)
class Part:
    """A part of an update that lacks others, as it came: to be stored before it is acknowledged.

    One that `begins` an update takes the place of whatever had come of another one of its device.
    """

    device: str
    body: bytes = field(repr=False)
    begins: bool


@dataclass(frozen=True)
class Probed:
    """A device asks what became of an update; of its parts these have not come, as far as nothing else is known."""

    received: Received
    missing: int


@dataclass(frozen=True)
class Reply:
    """What a probe is answered, on the topic of this kind; and what is said between services besides."""

    device: str
    kind: str
    body: bytes
    said: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Taken:
    """What becomes of what came.

    If nothing does, or not what its sender hoped, `reason` is one word for it and `why` a sentence for people. What is
    `counted` alone is one of very many like it: a figure grows, and nothing is said or kept. `ended` are the devices
    whose incomplete updates are forgotten, before anything of this is stored.
    """

    said: tuple[Message, ...] = ()
    payload: Payload | None = None
    part: Part | None = None
    probed: Probed | None = None
    ended: tuple[str, ...] = ()
    reason: str = ""
    why: str = ""
    counted: bool = False

    @property
    def is_stray(self) -> bool:
        """Whether it ends here, without an outcome for its sender: then it is to be kept as a dead letter."""
        return bool(self.reason) and not self.counted and not any(isinstance(message, Refusal) for message in self.said)


@dataclass
class Coming:
    """An update whose signed header is authentic and whose parts have not all come; the last new one at `since`."""

    received: Received
    since: int
    chunks: dict[int, bytes | memoryview] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How long its payload will be, by its signed header."""
        return self.received.update.payload.size


@dataclass
class Arrivals:
    """The updates that are coming, one per device, the longest without a new part first.

    `held` bytes are promised to them; `ended` are devices whose stored parts nobody wants any more. `allowances` are
    how much each device may still say.
    """

    federation: str
    most_payload: int
    most_bytes: int = MOST_ARRIVING
    held: int = 0
    coming: dict[str, Coming] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    allowances: Allowances = field(default_factory=Allowances)

    def of(self, device: str, update: bytes) -> Coming | None:
        """This update, if it is the one that is coming from the device."""
        known = self.coming.get(device)
        return known if known is not None and known.received.id == update else None

    def begin(self, received: Received, now: int) -> Coming:
        """The device's update from now on; what it had begun before goes, and the oldest of others for want of room."""
        device = received.update.device
        self.end(device)
        self.coming[device] = begun = Coming(received, now)
        self.held += begun.size
        while self.held > self.most_bytes and len(self.coming) > 1:
            self.end(next(iter(self.coming)))
        return begun

    def add(self, coming: Coming, index: int, chunk: bytes | memoryview, now: int) -> None:
        """Another part of it has come."""
        coming.chunks[index], coming.since = chunk, now
        device = coming.received.update.device
        self.coming[device] = self.coming.pop(device)

    def end(self, device: str) -> None:
        """Nothing more is waited for from this device, and nothing kept."""
        ended = self.coming.pop(device, None)
        if ended is not None:
            self.held -= ended.size
            self.ended.append(device)

    def forget(self, now: int) -> None:
        """Forget what has had no new part for too long."""
        while self.coming:
            device, oldest = next(iter(self.coming.items()))
            if now - oldest.since < EXPIRES_MS:
                return
            self.end(device)

    def take_ended(self) -> tuple[str, ...]:
        """The devices whose stored parts are to go, each time once."""
        ended = tuple(self.ended)
        self.ended.clear()
        return ended


def begin(plan: Plan, most_bytes: int = MOST_ARRIVING) -> Arrivals:
    """Nothing has come yet; no payload is longer than the model as 32-bit floats and what a code may add."""
    return Arrivals(plan.federation, most_payload=4 * plan.model.parameters + 4096, most_bytes=most_bytes)


def expired(arrivals: Arrivals, now: int) -> tuple[str, ...]:
    """The devices whose incomplete updates are forgotten by now."""
    arrivals.forget(now)
    return arrivals.take_ended()


def resume(arrivals: Arrivals, device: str, key: bytes | None, stored: Iterable[bytes], now: int) -> bool:
    """Take up what an earlier gateway has stored of a device's update; False if nothing can be made of it."""
    topic = UpTopic(arrivals.federation, device, Up.UPDATE)
    try:
        for body in stored if key is not None else ():
            _part(arrivals, topic, key or b"", Came("", body, key, now))
    except Unreadable:  # what came before it stands
        pass
    return device in arrivals.coming


def sender(topic: str) -> UpTopic | None:
    """Which device published on `topic`, and what kind; None if no device does."""
    try:
        return parse_up(topic)
    except Unreadable:
        return None


def receive(arrivals: Arrivals, came: Came) -> Taken:
    """What is said of what came, and the payload if an update is now complete."""
    arrivals.forget(came.now)
    taken = _taken(arrivals, came)
    ended = arrivals.take_ended()
    return replace(taken, ended=ended) if ended else taken


def answered(probed: Probed, receipt: bytes | None, *, is_stored: bool) -> Reply:
    """What a probe is answered: the receipt that the ledger has, that all of it is here, or which parts are missing.

    What is here is said between services again, as if it had come again: whoever has forgotten it hears of it so.
    """
    received, device = probed.received, probed.received.update.device
    if receipt is not None:
        return Reply(device, "receipt", receipt)
    if is_stored:
        return Reply(device, "want", encode(Held(update=received.id)), (received,))
    return Reply(device, "want", encode(Want(update=received.id, parts=parts.runs(probed.missing))))


def _taken(arrivals: Arrivals, came: Came) -> Taken:
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
    if came.key is None:
        return _unauthenticated(topic.device, "unknown", f"{topic.device} is not enrolled")
    match topic.kind:
        case Up.PRESENCE:
            return Taken((_authentic(topic, _whole(came.body), came.key, Purpose.PRESENCE, Presence),))
        case Up.DECLINE:
            return Taken((_authentic(topic, _whole(came.body), came.key, Purpose.DECLINE, Decline),))
        case Up.UPDATE:
            return _part(arrivals, topic, came.key, came)
        case Up.PROBE:
            return _probe(arrivals, topic, came.key, came.body)


def _enrolment(topic: UpTopic, envelope: Envelope) -> Taken:
    """The one message that is decoded before it is verified: the key is in it."""
    claimed = decode(envelope.header, Enrolment, MOST_ENROLMENT)
    return Taken((_authentic(topic, envelope, claimed.public_key, Purpose.ENROLMENT, Enrolment),))


def _probe(arrivals: Arrivals, topic: UpTopic, key: bytes, sealed: bytes) -> Taken:
    """A probe begins nothing and keeps nothing: it asks."""
    found = _update(arrivals, topic, key, _whole(sealed), sealed)
    if isinstance(found, Taken):
        return found
    coming = arrivals.of(topic.device, found.id)
    missing = parts.lacking(found.update.payload.size, coming.chunks if coming else ())
    return Taken(probed=Probed(found, missing))


def _part(arrivals: Arrivals, topic: UpTopic, key: bytes, came: Came) -> Taken:
    part = parts.read(came.body)
    if not isinstance(part, First):
        coming = arrivals.of(topic.device, part.id)
        if coming is None:
            return _stray("orphan", f"part {part.index} of update {part.id.hex()[:16]}, whose first part is not here")
        return _added(arrivals, coming, part.index, part.chunk, came)
    found = _update(arrivals, topic, key, part.envelope, part.sealed)
    if isinstance(found, Taken):
        return found
    size = found.update.payload.size
    if misfit := _misfit(topic.device, size, 0, part.chunk):
        return misfit
    if size <= CHUNK:
        return _complete(found, part.chunk)
    coming = arrivals.of(topic.device, found.id) or arrivals.begin(found, came.now)
    return _added(arrivals, coming, 0, part.chunk, came)


def _update(arrivals: Arrivals, topic: UpTopic, key: bytes, envelope: Envelope, sealed: bytes) -> Received | Taken:
    """The update whose signed header this is; or what becomes of one that is longer than any may be."""
    update = _authentic(topic, envelope, key, Purpose.UPDATE, Update)
    received = Received(id=envelope.id, update=update, sealed=sealed)
    if update.payload.size <= arrivals.most_payload:
        return received
    why = f"a payload is at most {arrivals.most_payload} bytes long, {update.payload.size} were announced"
    refusal = Refusal(id=received.id, update=update, sealed=received.sealed, reason="oversized", why=why)
    return Taken((refusal,), reason="oversized", why=why)


def _misfit(device: str, size: int, index: int, chunk: bytes | memoryview) -> Taken | None:
    """What becomes of a chunk that has another length than its place in a payload of `size` bytes wants."""
    wanted = min(CHUNK, size - index * CHUNK)
    if 0 <= index < parts.count(size) and len(chunk) == wanted:
        return None
    why = f"part {index} of a payload of {size} bytes has {len(chunk)} bytes, wanted {max(wanted, 0)}"
    return _unauthenticated(device, "payload", why)


def _added(arrivals: Arrivals, coming: Coming, index: int, chunk: bytes | memoryview, came: Came) -> Taken:
    received, count = coming.received, parts.count(coming.size)
    device = received.update.device
    if misfit := _misfit(device, coming.size, index, chunk):
        return misfit
    if index in coming.chunks:
        return Taken()
    begins = not coming.chunks
    arrivals.add(coming, index, chunk, came.now)
    if len(coming.chunks) < count:
        return Taken(part=Part(device, came.body, begins))
    arrivals.end(device)
    return _complete(received, b"".join(coming.chunks[at] for at in range(count)))


def _complete(received: Received, payload: bytes | memoryview) -> Taken:
    if hashlib.sha256(payload).digest() == received.update.payload.digest:
        return Taken((received,), Payload(received.id, payload))
    why = f"update {received.id.hex()[:16]}: its parts hash to another digest"
    return _unauthenticated(received.update.device, "payload", why)


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
