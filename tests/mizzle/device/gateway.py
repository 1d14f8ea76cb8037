"""A federation's gateway, played on one bus: it enrols, invites, puts updates together and sends receipts."""

import hashlib
from dataclasses import dataclass

from mizzle import parts, topics
from mizzle.codec import decode, decode_from_device, encode
from mizzle.envelope import Envelope, unseal
from mizzle.messages import Decline, Enrolment, Presence, Update, Want
from mizzle.parts import First, Later
from mizzle.topics import Up, UpTopic
from mizzle.transport.bus import Arrived, Bus, Connected
from tests.mizzle.device.federation import Federation
from tests.mizzle.transport.worlds import Heard


@dataclass(frozen=True)
class Delivered:
    """An update that came whole: its id, what its header says, its payload, and the very bytes of its parts."""

    device: str
    id: bytes
    update: Update
    payload: bytes
    parts: tuple[bytes, ...]


class Gateway:
    """Plays the gateway until it is closed; `heard` has what devices said, decoded, and each `Delivered`."""

    def __init__(self, bus: Bus, barn: Federation) -> None:
        self.heard = Heard()
        self.gives_receipts = True
        self.keys: dict[str, bytes] = {}
        self._bus, self._barn = bus, barn
        self._incoming: dict[bytes, tuple[str, Update, dict[int, bytes]]] = {}
        bus.open(self._listen)
        self.heard.next(Connected)
        bus.subscribe(topics.every_up(barn.name))
        for topic, piece in barn.blobs():
            bus.publish(topic, piece, retain=True)

    def invite(self, device: str, window: int, *, version: int = 0) -> None:
        self._bus.publish(
            topics.to(self._barn.name, device, "invitation"), self._barn.invitation(device, window, version=version)
        )

    def answer(self, device: str, update: bytes) -> None:
        self._bus.publish(topics.to(self._barn.name, device, "receipt"), self._barn.receipt(device, update))

    def _listen(self, event: object) -> None:
        if not isinstance(event, Arrived):
            self.heard(event)
            return
        said = topics.parse_up(event.topic)
        if said.kind is Up.UPDATE:
            self._part(said, event.body)
            return
        envelope = unseal(event.body)
        if said.kind is Up.PROBE:
            self._probe(said, envelope)
            return
        match decode_from_device(envelope.header):
            case Enrolment() as enrolment:
                envelope.verify(enrolment.public_key)
                assert self._barn.is_proven(enrolment)
                self._enrol(enrolment)
            case Presence() | Decline() as message:
                envelope.verify(self.keys[said.device])
                self.heard(message)

    def _enrol(self, enrolment: Enrolment) -> None:
        self.keys[enrolment.device] = enrolment.public_key
        sealed = self._barn.identity(enrolment.device, enrolment.public_key)
        self._bus.publish(topics.to(self._barn.name, enrolment.device, "identity"), sealed)
        self.heard(enrolment)

    def _probe(self, said: UpTopic, envelope: Envelope) -> None:
        """It remembers nothing but what has come of an update that is not complete."""
        envelope.verify(self.keys[said.device])
        size = decode(envelope.header, Update).payload.size
        known = self._incoming.get(envelope.id)
        want = Want(update=envelope.id, parts=parts.runs(parts.lacking(size, known[2] if known else ())))
        self._bus.publish(topics.to(self._barn.name, said.device, "want"), encode(want))

    def _part(self, said: UpTopic, body: bytes) -> None:
        match parts.read(body):
            case First(envelope=envelope):
                envelope.verify(self.keys[said.device])
                self._incoming[envelope.id] = (said.device, decode(envelope.header, Update), {0: body})
                self._complete(envelope.id)
            case Later(id=update, index=index):
                self._incoming[update][2][index] = body
                self._complete(update)

    def _complete(self, update: bytes) -> None:
        device, message, bodies = self._incoming[update]
        if len(bodies) < parts.count(message.payload.size):
            return
        payload = b"".join(parts.read(bodies[index]).chunk for index in sorted(bodies))
        assert hashlib.sha256(payload).digest() == message.payload.digest
        del self._incoming[update]
        if self.gives_receipts:
            self.answer(device, update)
        self.heard(Delivered(device, update, message, payload, tuple(bodies[index] for index in sorted(bodies))))
