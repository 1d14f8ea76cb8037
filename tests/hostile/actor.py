"""A device by script: a voice that seals anything, and an actor that says it to a real broker and hears the answers."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Self

from msgspec.structs import replace

from mizzle import parts, topics
from mizzle.codec import decode, encode
from mizzle.device.enrol import identity_in, parse, sealed_enrolment
from mizzle.envelope import Key, Purpose, unseal
from mizzle.messages import BlobRef, Invitation, Presence, Receipt, Update
from mizzle.topics import Up
from tests.hostile.envelopes import sealed_header
from tests.mqtt import Peer, Said
from tests.wire import Wire

if TYPE_CHECKING:
    from types import TracebackType

    from mizzle.plan import Plan
    from services.local.federation import Federation


PATIENCE_S = 60.0
"""More than a window lasts: everything is sent on a machine that does other things too."""


@dataclass(frozen=True)
class Voice:
    """What a device of this name can say with its own key, and nothing holds it to any rule."""

    name: str
    plan: Plan
    key: Key = field(default_factory=lambda: Key(secrets.token_bytes(32)))
    counter: count[int] = field(default_factory=lambda: count(1))

    def topic(self, kind: Up) -> str:
        """Where it speaks."""
        return topics.up(self.plan.federation, self.name, kind)

    def sealed(self, header: bytes, purpose: Purpose, **lies: int) -> bytes:
        """Any header under a good signature of this device."""
        return sealed_header(header, purpose, self.key, **{"counter": next(self.counter), **lies})

    def update(self, invitation: Invitation, body: bytes, **changes: Any) -> Update:
        """What an honest device would say of the payload `body`, but for the changes, which no bound holds."""
        honest = Update(
            federation=self.plan.federation,
            device=self.name,
            window=invitation.window,
            base=invitation.base.digest,
            plan=invitation.plan,
            nonce=secrets.token_bytes(16),
            payload=BlobRef(digest=hashlib.sha256(body).digest(), size=len(body)),
        )
        return replace(honest, **changes)

    def parts(self, invitation: Invitation, body: bytes, epoch: int | None = None, **changes: Any) -> tuple[bytes, ...]:
        """An update with this payload, in the messages that carry it."""
        header = encode(self.update(invitation, body, **changes))
        sealed = self.sealed(header, Purpose.UPDATE, epoch=invitation.epoch if epoch is None else epoch)
        return tuple(parts.split(sealed, body))


class Actor:
    """A device of a federation that runs, connected inside the context; it belongs once it has enrolled."""

    def __init__(self, federation: Federation, name: str) -> None:
        self.voice = Voice(name, federation.plan)
        self.receipts: dict[bytes, set[bytes]] = {}
        self._founded = federation.founded
        self._invitations: dict[int, Invitation] = {}
        self._port = federation.broker.port
        self._peer = Peer(self._port, name)

    def __enter__(self) -> Self:
        self._peer.__enter__()
        self._peer.subscribe(topics.every_to(self.voice.plan.federation, self.voice.name))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._peer.__exit__(kind, error, trace)

    def enrol(self) -> None:
        """Belong from now on."""
        voice, token = self.voice, parse(self._founded.token(self.voice.name))
        self.say(voice.topic(Up.ENROL), sealed_enrolment(token, voice.key, next(voice.counter)))
        identity = self._next().payload
        identity_in(identity, [token.receipt_key], token.federation, voice.name, voice.key.public_key)

    def be_there(self) -> None:
        """Be invited from now on."""
        here = Presence(federation=self.voice.plan.federation, device=self.voice.name, online=True, examples=1)
        self.say(self.voice.topic(Up.PRESENCE), self.voice.sealed(encode(here), Purpose.PRESENCE))

    def say(self, topic: str, *bodies: bytes, beside: bytes = b"") -> None:
        """Say these bytes; returns once the broker has them.

        What stands `beside` each of them goes over a line of its own, as no library writes it.
        """
        if not beside:
            for body in bodies:
                assert self._peer.publish(topic, body) == "Success"
            return
        with Wire(self._port, self.voice.name) as wire:
            for body in bodies:
                assert wire.publish(topic, body, beside) == 0

    def invited(self, window: int) -> Invitation:
        """The invitation to this window; waits until it has come."""
        while window not in self._invitations:
            self._hear(self._next())
        return self._invitations[window]

    def await_receipt(self, update: bytes) -> None:
        """Return once it is told how this update ended."""
        while update not in self.receipts:
            self._hear(self._next())

    def listen(self) -> None:
        """Hear whatever else has come by now."""
        for said in self._peer.heard():
            self._hear(said)

    def _next(self) -> Said:
        return self._peer.got.get(timeout=PATIENCE_S)

    def _hear(self, said: Said) -> None:
        envelope = unseal(said.payload)
        match said.topic.rpartition("/")[2]:
            case "receipt":
                envelope.verify(self._founded.public_keys["receipt"])
                self.receipts.setdefault(decode(envelope.header, Receipt).update, set()).add(said.payload)
            case "invitation":
                invitation = decode(envelope.header, Invitation)
                self._invitations[invitation.window] = invitation
