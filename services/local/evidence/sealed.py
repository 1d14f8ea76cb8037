"""Signed bytes, read again from their written layout: envelopes of 100 bytes and a header, and manifests as DSSE."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import dataclass
from typing import Any, Final

import msgpack
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

UPDATE, RECEIPT = 4, 18

_PURPOSES: Final = {UPDATE: b"update", RECEIPT: b"receipt"}
_PREFIX: Final = struct.Struct(">2sBBBBHIQ16s")
_FIXED: Final = _PREFIX.size + 64


@dataclass(frozen=True)
class Sealed:
    """An envelope taken apart; `id` is the SHA-256 of the bytes that were signed."""

    id: bytes
    signed: bytes
    signature: bytes
    message: dict[str, Any]

    def is_by(self, public_key: bytes) -> bool:
        """Whether this key signed it."""
        return _is_signed(public_key, self.signed, self.signature)


def opened(sealed: bytes, purpose: int) -> Sealed | None:
    """The envelope `sealed` for this purpose; None if these bytes are no such envelope."""
    if len(sealed) < _FIXED:
        return None
    magic, protocol, suite, found, zero, length, *_ = _PREFIX.unpack_from(sealed)
    if (magic, protocol, suite, found, zero, length) != (b"mz", 1, 1, purpose, 0, len(sealed) - _FIXED):
        return None
    header = sealed[_FIXED:]
    signed = b"mizzle/1/" + _PURPOSES[purpose] + b"\0" + sealed[: _PREFIX.size] + header
    message = unpacked(header)
    return message and Sealed(hashlib.sha256(signed).digest(), signed, sealed[_PREFIX.size : _FIXED], message)


def unpacked(body: bytes) -> Any:  # noqa: ANN401  # whatever msgpack holds
    """The msgpack map in `body`; None if there is none."""
    try:
        found = msgpack.unpackb(body)
    except (ValueError, msgpack.UnpackException):
        return None
    return found if isinstance(found, dict) else None


def manifest(envelope: bytes, public_key: bytes) -> dict[str, Any] | None:
    """What a signed release manifest says, if this key signed it; else None."""
    try:
        dsse = json.loads(envelope)
        payload, kind = base64.b64decode(dsse["payload"]), dsse["payloadType"].encode()
        signatures = [base64.b64decode(one["sig"]) for one in dsse["signatures"]]
        said = json.loads(payload)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    is_good = any(_is_signed(public_key, signed, signature) for signature in signatures)
    return said if is_good and isinstance(said, dict) else None


def _is_signed(public_key: bytes, signed: bytes, signature: bytes) -> bool:
    try:
        VerifyKey(public_key).verify(signed, signature)
    except (BadSignatureError, ValueError, TypeError):
        return False
    return True
