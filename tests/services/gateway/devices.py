"""A device by script: it seals what it is told to say and publishes nothing by itself."""

import hashlib
from dataclasses import dataclass, field
from itertools import count

from mizzle import parts, topics
from mizzle.envelope import Key, Purpose, seal
from mizzle.messages import BlobRef, Decline, Enrolment, Message, Presence, Update
from mizzle.topics import Up


@dataclass(frozen=True)
class Device:
    """A device of `federation` with a key of its own."""

    name: str = "pump-7"
    federation: str = "barn"
    seed: int = 7
    counter: "count[int]" = field(default_factory=count, compare=False)

    @property
    def key(self) -> Key:
        return Key(bytes([self.seed]) * 32)

    def sealed(self, message: Message, purpose: Purpose) -> bytes:
        return seal(message, purpose, self.key, 0, next(self.counter))

    def enrolment(self, proof: bytes = bytes(32)) -> Enrolment:
        return Enrolment(federation=self.federation, device=self.name, public_key=self.key.public_key, proof=proof)

    def presence(self, *, online: bool = True) -> Presence:
        return Presence(federation=self.federation, device=self.name, online=online, examples=12)

    def decline(self, window: int = 1) -> Decline:
        return Decline(federation=self.federation, device=self.name, window=window, reason="battery")

    def update(self, payload: bytes, window: int = 1, *, nonce: bytes = bytes(16)) -> Update:
        return Update(
            federation=self.federation,
            device=self.name,
            window=window,
            base=bytes(32),
            plan=bytes(32),
            nonce=nonce,
            payload=BlobRef(digest=hashlib.sha256(payload).digest(), size=len(payload)),
        )

    def parts(self, payload: bytes, window: int = 1, *, nonce: bytes = bytes(16)) -> list[bytes]:
        sealed = self.sealed(self.update(payload, window, nonce=nonce), Purpose.UPDATE)
        return list(parts.split(sealed, payload))

    def topic(self, kind: Up) -> str:
        return topics.up(self.federation, self.name, kind)
