"""A manifest: what a release says of itself, signed as a DSSE envelope (wire 12)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .envelope import is_signed, key_id

_TYPE: Final = "application/vnd.mizzle.release.v1+json"


@dataclass(frozen=True)
class Signature:
    """Who is said to have signed, and with what."""

    key_id: str
    signature: bytes


@dataclass(frozen=True)
class Enveloped:
    """A DSSE envelope taken apart; that it is genuine is not said yet."""

    text: bytes  # what is signed
    manifest: Mapping[str, Any]
    signatures: tuple[Signature, ...]


def enveloped(body: bytes) -> Enveloped | None:
    """The envelope in these bytes, or nothing if they are none of a release."""
    try:
        envelope = parsed(body)
        payload = base64.b64decode(envelope["payload"], validate=True)
        signatures = tuple(_signature(one) for one in envelope["signatures"])
        is_ours = envelope["payloadType"] == _TYPE
        return Enveloped(_signed(payload), parsed(payload), signatures) if is_ours else None
    except (ValueError, KeyError, TypeError, binascii.Error):
        return None


def parsed(body: bytes) -> Mapping[str, Any]:
    """A JSON object whose keys stand once, else ValueError."""
    found = json.loads(body, object_pairs_hook=_once)
    if not isinstance(found, dict):
        raise TypeError("JSON, and no object")
    return found


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _signature(one: Mapping[str, str]) -> Signature:
    return Signature(one["keyid"], base64.b64decode(one["sig"], validate=True))


def _signed(payload: bytes) -> bytes:
    return b"DSSEv1 %d %s %d %s" % (len(_TYPE), _TYPE.encode(), len(payload), payload)


def is_released_by(one: Enveloped, key: bytes) -> bool:
    """Whether one of the signatures is this key's, and good."""
    named = key_id(key).hex()
    return any(s.key_id == named and is_signed(key, one.text, s.signature) for s in one.signatures)


def canonical(envelope: object) -> bytes:
    """An envelope as it is hashed: keys sorted, no spaces."""
    return json.dumps(envelope, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
