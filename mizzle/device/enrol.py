"""Belonging to a federation: from a one-time token to an identity.

A token is one line, `mzt1.FEDERATION.DEVICE.SECRET.KEY`: the secret has 32 hexadecimal digits, and KEY is the public
key (64 digits) with which the federation signs receipts and identities. The device makes its own signing key, proves
that it knows the secret without sending it, and believes the identity that comes back because KEY has signed it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mizzle.device.belief import opened
from mizzle.envelope import Purpose, seal
from mizzle.errors import Forged, Misconfigured
from mizzle.messages import Enrolment, Identity

if TYPE_CHECKING:
    from collections.abc import Collection

    from mizzle.envelope import Signer

_NAME: Final = "[A-Za-z0-9_-]{1,64}"
_TOKEN: Final = re.compile(rf"mzt1\.({_NAME})\.({_NAME})\.([0-9a-f]{{32}})\.([0-9a-f]{{64}})")


@dataclass(frozen=True)
class Token:
    """The right to enrol one device once."""

    federation: str
    device: str
    secret: str = field(repr=False)
    receipt_key: bytes


def parse(text: str) -> Token:
    """The token that `text` is, spaces around it left out.

    Raises:
        Misconfigured: it is none; its secret is not repeated in the text.
    """
    found = _TOKEN.fullmatch(text.strip())
    if found is None:
        form = "mzt1.FEDERATION.DEVICE.SECRET.KEY, SECRET 32 and KEY 64 hexadecimal digits"
        parts = len(text.strip().split("."))
        raise Misconfigured(f"an enrolment token is {form}; got {len(text)} characters in {parts} parts: copy it again")
    return Token(found[1], found[2], found[3], bytes.fromhex(found[4]))


def proof(secret_digest: bytes, federation: str, device: str, public_key: bytes) -> bytes:
    """What shows that whoever brings `public_key` knows the secret with this SHA-256."""
    said = b"\0".join((b"mizzle/1/token", federation.encode(), device.encode(), public_key))
    return hmac.digest(secret_digest, said, "sha256")


def broker_password(secret: str) -> str:
    """What a device with this token says to the broker: derived from the secret, which it does not give away.

    HMAC-SHA-256(secret's 32 digits, "mizzle/1/broker-password") as 43 characters of base64url.
    """
    derived = hmac.digest(secret.encode("ascii"), b"mizzle/1/broker-password", "sha256")
    return urlsafe_b64encode(derived).rstrip(b"=").decode("ascii")


def sealed_enrolment(token: Token, key: Signer, counter: int) -> bytes:
    """The device's request to belong, signed with the key that it brings."""
    secret_digest = hashlib.sha256(token.secret.encode("ascii")).digest()
    enrolment = Enrolment(
        federation=token.federation,
        device=token.device,
        public_key=key.public_key,
        proof=proof(secret_digest, token.federation, token.device, key.public_key),
    )
    return seal(enrolment, Purpose.ENROLMENT, key, epoch=0, counter=counter)


def identity_in(
    body: bytes, receipt_keys: Collection[bytes], federation: str, device: str, public_key: bytes
) -> Identity:
    """The identity that `body` grants to this device with this key.

    Raises:
        Unreadable: no identity, or (`Forged`) not signed by a receipt key of ours, or for somebody else.
    """
    envelope, identity = opened(body, Purpose.IDENTITY, receipt_keys, Identity)
    wanted = (federation, device, public_key, envelope.epoch)
    if (identity.federation, identity.device, identity.public_key, identity.epoch) != wanted:
        raise Forged(
            f"this identity is of {identity.device} in {identity.federation}, key {identity.public_key.hex()[:16]}, "
            f"epoch {identity.epoch}; here is {device} in {federation}, key {public_key.hex()[:16]}, "
            f"in an envelope of epoch {envelope.epoch}"
        )
    return identity
