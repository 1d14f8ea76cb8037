r"""Seal and open: who says it, in which epoch, for which purpose, and the signature over all of it.

An envelope is 100 bytes of fixed layout and the header, which is one message as `mizzle.codec` writes it:

    offset  bytes  what
    0       2      "mz"
    2       1      protocol version, 1
    3       1      suite, 1: Ed25519 and SHA-256
    4       1      purpose (`Purpose`): what the message is for
    5       1      0
    6       2      length of the header, big-endian, at most 4096
    8       4      parameter epoch, big-endian
    12      8      counter, big-endian, grows with every message that a device's key signs; a server's is an instant
    20      16     key id: the first 16 bytes of the public key's SHA-256
    36      64     Ed25519 signature
    100     …      header

What is signed is `"mizzle/1/" purpose "\0"`, then bytes 0–35, then the header. The purpose is in front so that a
signature made for one kind of message fits no other. An update's id is the SHA-256 of the signed bytes, so a second
signature over them is no second update. Nothing but the fixed 100 bytes is looked at before the signature is checked.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Final, Protocol

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from mizzle.codec import encode
from mizzle.errors import Forged, Oversized, Unreadable
from mizzle.messages import Message

FIXED: Final = 100
"""How many bytes come before the header."""

MOST_HEADER: Final = 4096

_PREFIX: Final = struct.Struct(">2sBBBBHIQ16s")
_MAGIC, _PROTOCOL, _SUITE = b"mz", 1, 1


class Purpose(IntEnum):
    """What a sealed message is for; a signature for one purpose is worth nothing for another."""

    ENROLMENT = 1
    PRESENCE = 2
    DECLINE = 3
    UPDATE = 4
    IDENTITY = 16
    INVITATION = 17
    RECEIPT = 18


class Signer(Protocol):
    """Whoever can sign: a key in memory here, a key in a secure element elsewhere."""

    @property
    def public_key(self) -> bytes:
        """The 32 bytes that others verify with."""

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of an Ed25519 signature over `message`."""


@dataclass(frozen=True)
class Key:
    """An Ed25519 signing key in memory."""

    seed: bytes

    @cached_property
    def public_key(self) -> bytes:
        """The 32 bytes that others verify with."""
        return bytes(self._signing.verify_key)

    def sign(self, message: bytes) -> bytes:
        """The signature of `message`; the same every time."""
        return self._signing.sign(message).signature

    @cached_property
    def _signing(self) -> SigningKey:
        return SigningKey(self.seed)

    def __repr__(self) -> str:
        """The key's id and never its seed: this may reach a log."""
        return f"Key({key_id(self.public_key).hex()})"


@dataclass(frozen=True)
class Envelope:
    """A sealed message taken apart; nothing in it is believed until `verify` has returned."""

    purpose: Purpose
    epoch: int
    counter: int
    key_id: bytes
    signature: bytes
    header: bytes
    signed: bytes
    size: int

    @property
    def id(self) -> bytes:
        """SHA-256 of the signed bytes: the id of an update."""
        return hashlib.sha256(self.signed).digest()

    def verify(self, public_key: bytes) -> None:
        """Return if the key made this signature over exactly these bytes.

        Raises:
            Forged: it did not, the key is of small order, or the envelope names another key.
        """
        if self.key_id != key_id(public_key):
            text = f"the envelope names key {self.key_id.hex()}, the key registered here is {key_id(public_key).hex()}"
            raise Forged(text)
        try:
            VerifyKey(public_key).verify(self.signed, self.signature)
        except (BadSignatureError, ValueError) as error:
            text = f"this signature is not one of key {self.key_id.hex()} over these bytes"
            raise Forged(text) from error


def key_id(public_key: bytes) -> bytes:
    """The short name of a key."""
    return hashlib.sha256(public_key).digest()[:16]


def seal(message: Message, purpose: Purpose, signer: Signer, epoch: int, counter: int) -> bytes:
    """`message` in an envelope that `signer` has signed for `purpose`."""
    header = encode(message)
    if len(header) > MOST_HEADER:
        text = f"a header is at most {MOST_HEADER} bytes long, this {type(message).__name__} takes {len(header)}"
        raise Oversized(text)
    prefix = _PREFIX.pack(_MAGIC, _PROTOCOL, _SUITE, purpose, 0, len(header), epoch, counter, key_id(signer.public_key))
    return prefix + signer.sign(_signed(purpose, prefix, header)) + header


def unseal(body: bytes) -> Envelope:
    """The envelope at the start of `body`; what follows it (a payload's first chunk) begins at `Envelope.size`.

    Raises:
        Unreadable: too short, not ours, or of a version, suite or purpose that this program does not speak.
    """
    if len(body) < FIXED:
        text = f"an envelope is at least {FIXED} bytes long, got {len(body)}"
        raise Unreadable(text)
    magic, protocol, suite, purpose, zero, length, epoch, counter, key = _PREFIX.unpack_from(body)
    if (magic, protocol, suite, zero) != (_MAGIC, _PROTOCOL, _SUITE, 0):
        text = f"an envelope begins with 'mz', protocol 1, suite 1; these bytes begin with {body[:6].hex()}"
        raise Unreadable(text)
    if length > MOST_HEADER or len(body) < FIXED + length:
        text = f"the header claims {length} bytes; at most {MOST_HEADER} are allowed and {len(body) - FIXED} are there"
        raise Unreadable(text)
    named = _PURPOSES.get(purpose)
    if named is None:
        text = f"purpose {purpose} is none of {sorted(_PURPOSES)}"
        raise Unreadable(text)
    prefix, header = bytes(body[: _PREFIX.size]), bytes(body[FIXED : FIXED + length])
    return Envelope(
        purpose=named,
        epoch=epoch,
        counter=counter,
        key_id=key,
        signature=bytes(body[_PREFIX.size : FIXED]),
        header=header,
        signed=_signed(named, prefix, header),
        size=FIXED + length,
    )


_PURPOSES: Final = {int(purpose): purpose for purpose in Purpose}
_DOMAINS: Final = {purpose: b"mizzle/1/" + purpose.name.lower().encode() + b"\0" for purpose in Purpose}


def _signed(purpose: Purpose, prefix: bytes, header: bytes) -> bytes:
    return _DOMAINS[purpose] + prefix + header
