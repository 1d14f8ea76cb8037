"""The envelope around every message to and from a device: take it apart, name it, verify it (wire 3)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgpack
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

PURPOSES: Final = {
    1: "enrolment",
    2: "presence",
    3: "decline",
    4: "update",
    16: "identity",
    17: "invitation",
    18: "receipt",
}
_FIXED: Final = 100
_SIGNED: Final = 36
_MOST: Final = 4096


@dataclass(frozen=True)
class Sealed:
    """An envelope taken apart; that it is genuine is not said yet."""

    purpose: str
    epoch: int
    counter: int
    key_id: bytes
    text: bytes  # what is signed
    signature: bytes
    message: Mapping[str, Any]  # empty where the header is no message
    after: bytes  # the chunk behind an update's envelope

    @property
    def id(self) -> bytes:
        """The update's id, the SHA-256 of what is signed."""
        return hashlib.sha256(self.text).digest()


def opened(body: bytes) -> Sealed | None:
    """The envelope at the beginning of a body, or nothing if there is none."""
    end = _FIXED + int.from_bytes(body[6:8], "big")
    if not _is_framed(body, end):
        return None
    purpose, header = PURPOSES[body[4]], body[_FIXED:end]
    return Sealed(
        purpose=purpose,
        epoch=int.from_bytes(body[8:12], "big"),
        counter=int.from_bytes(body[12:20], "big"),
        key_id=body[20:_SIGNED],
        text=b"mizzle/1/" + purpose.encode() + b"\0" + body[:_SIGNED] + header,
        signature=body[_SIGNED:_FIXED],
        message=unpacked(header),
        after=body[end:],
    )


def _is_framed(body: bytes, end: int) -> bool:
    begins = body[:4] == b"mz\x01\x01" and body[4:5] != b"" and body[4] in PURPOSES and body[5:6] == b"\0"
    return begins and end <= _FIXED + _MOST and len(body) >= end


def unpacked(header: bytes) -> Mapping[str, Any]:
    """A msgpack map whose keys are text, each once; empty where the bytes are anything else."""
    try:
        message = msgpack.unpackb(header, object_pairs_hook=_once, max_ext_len=0)
    except (ValueError, msgpack.exceptions.UnpackException):
        return {}
    return message if isinstance(message, dict) else {}


def _once(pairs: list[tuple[object, object]]) -> dict[object, object]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def key_id(key: bytes) -> bytes:
    """How an envelope calls a public key."""
    return hashlib.sha256(key).digest()[:16]


def is_sealed_by(sealed: Sealed, key: bytes) -> bool:
    """Whether this key sealed it."""
    return sealed.key_id == key_id(key) and is_signed(key, sealed.text, sealed.signature)


@lru_cache(maxsize=1 << 16)
def is_signed(key: bytes, text: bytes, signature: bytes) -> bool:
    """Whether the Ed25519 signature of this text is good under this key."""
    try:
        VerifyKey(key).verify(text, signature)
    except (CryptoError, ValueError):
        return False
    return True


def is_payload(sealed: Sealed, payload: bytes) -> bool:
    """Whether these bytes are the payload that an update's signed header names, by its digest and size."""
    named = sealed.message.get("payload")
    said = (named.get("digest"), named.get("size")) if isinstance(named, dict) else None
    return said == (hashlib.sha256(payload).digest(), len(payload))
