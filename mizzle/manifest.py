"""A release's manifest: what integrators and devices check before they believe a model, every rule of it here and pure.

A manifest is JSON, signed as DSSE (github.com/secure-systems-lab/dsse): the key signs `PAE(type, payload)`, and a
release may bear several signatures while keys roll. The rules are TUF's. `authentic` says that a trusted key signed it
for this federation; `fresh` that it still holds, so that nobody is kept on an old model for ever; `follows` that it is
newer than the one we had; `links` that a release is the very one its successor names. A retained message is a mirror:
which broker held it proves nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from mizzle.envelope import key_id
from mizzle.errors import Forged, Outdated, Oversized, Unreadable
from mizzle.known import known
from mizzle.vocabulary import Count, FederationId, Sentence, Size, Version, WindowNumber

PAYLOAD_TYPE: Final = "application/vnd.mizzle.release.v1+json"

MOST_BYTES: Final = 24_000
"""No signed manifest is longer: with an event around it, it still fits where brokers retain 32 KB."""

MOST_EVENT: Final = 32_000

EVENT_CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
"""By this an MQTT 5 reader knows a structured event [CloudEvents 1.0, MQTT Protocol Binding §3.2]."""

HexDigest = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{64}(?![\s\S])", description="SHA-256 of some bytes, in hexadecimal")
]
Moment = Annotated[datetime, Meta(tz=True, description="an instant as RFC 3339 writes it, in UTC")]
Epsilon = Annotated[float, Meta(ge=0, le=1e12, description="ε, to be read with the sentence beside it and never alone")]
Delta = Annotated[float, Meta(gt=0, lt=1, description="δ: the probability that ε does not bound the loss")]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 31, tzinfo=UTC)

T = TypeVar("T")


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a signed manifest."""


class ModelFile(Entry):
    """The released model, by what it is."""

    digest: HexDigest
    size: Size
    format: Literal["safetensors"]


class Privacy(Entry):
    """The privacy loss of the device that lost most, this release included, and what the number means.

    Where the plan's mechanism claims nothing there is no ε, and the sentence says so.
    """

    epsilon: Epsilon | None
    delta: Delta
    sentence: Sentence


class Manifest(Entry):
    """What a federation says of one release; `previous` is SHA-256 of the signed manifest before it, as published."""

    schema: Literal[1]
    federation: FederationId
    version: Version
    window: WindowNumber
    members: Count
    model: ModelFile
    plan: HexDigest
    previous: HexDigest | None
    issued: Moment
    expires: Moment
    privacy: Privacy


def moment(instant: int) -> datetime:
    """The milliseconds since 1970 as a manifest's instant; what lies beyond the calendar is its last day."""
    most = (_LAST - _EPOCH) // timedelta(milliseconds=1)
    return _EPOCH + timedelta(milliseconds=min(instant, most))


def instant(moment: datetime) -> int:
    """A manifest's instant as milliseconds since 1970, whole ones."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def sign(manifest: Manifest, sign: Callable[[bytes], bytes], public_key: bytes) -> bytes:
    """The signed manifest: the same bytes for the same manifest and key.

    Raises:
        Unreadable: a field is out of bounds, so that nobody would believe it.
    """
    payload = _canonical(manifest)
    _manifest(payload)
    signature = Signature(keyid=key_id(public_key).hex(), sig=sign(_pae(PAYLOAD_TYPE, payload)))
    return _canonical(SignedManifest(payload=payload, payload_type=PAYLOAD_TYPE, signatures=(signature,)))


def verify(envelope: bytes, public_keys: Collection[bytes], federation: str, now: int) -> Manifest:
    """The manifest in `envelope`, if one of the keys signed it for this federation and it holds at `now`.

    Raises:
        Oversized, Unreadable: these bytes are no signed manifest.
        Forged: no key of ours signed it, or not for us.
        Outdated: it has expired.
    """
    manifest = authentic(envelope, public_keys, federation)
    fresh(manifest, now)
    return manifest


def authentic(envelope: bytes, public_keys: Collection[bytes], federation: str) -> Manifest:
    """The manifest in `envelope`, if one of the keys signed it for this federation, whenever that was.

    Raises:
        Oversized, Unreadable: these bytes are no signed manifest.
        Forged: no key of ours signed it, or not for us.
    """
    dsse = _read(envelope, MOST_BYTES, SignedManifest)
    if dsse.payload_type != PAYLOAD_TYPE:
        raise Unreadable(f"a manifest is signed as {PAYLOAD_TYPE}, this was signed as {dsse.payload_type}")
    _refuse_unsigned(dsse, public_keys)
    manifest = _manifest(dsse.payload)
    if manifest.federation != federation:
        text = (
            f"an attack or a crossed line: this release is of federation {manifest.federation!r}, wanted {federation!r}"
        )
        raise Forged(f"{text}; its signature is good, so a key serves two federations")
    return manifest


def fresh(manifest: Manifest, now: int) -> None:
    """Return if the manifest holds at `now`, in milliseconds since 1970.

    Raises:
        Outdated: it has expired: nobody releases any more, or somebody holds newer releases back.
    """
    if moment(now) >= manifest.expires:
        end, here = manifest.expires.isoformat(), moment(now).isoformat()
        text = f"a freeze: release {manifest.version} expired at {end}, here it is {here}"
        raise Outdated(f"{text}; newer ones are held back (an attack), none were made, or this clock is wrong")


def follows(newer: Manifest, older_version: int) -> None:
    """Return if `newer` is newer than the version we had.

    Raises:
        Outdated: it is that version again, which any broker may send, or one before it, which only a roll-back sends.
    """
    if newer.version == older_version:
        raise Outdated(f"a replay, and harmless: release {newer.version} is the one we have")
    if newer.version < older_version:
        raise Outdated(f"a roll-back, refused: release {newer.version} is offered where we had {older_version}")


def links(newer: Manifest, older: bytes) -> None:
    """Return if the signed manifest `older` is the one that `newer` was made after.

    Raises:
        Forged: it is another, or `newer` is the first of all.
    """
    found = hashlib.sha256(older).hexdigest()
    if newer.previous != found:
        raise Forged(
            f"an attack: release {newer.version} was made after manifest {newer.previous}, this one is {found}"
        )


def cloud_event(federation: str, envelope: bytes, manifest: Manifest) -> bytes:
    """The signed manifest as a CloudEvent 1.0 in structured mode, for `topics.release`; only its `data` is signed."""
    event = {
        "specversion": "1.0",
        "id": f"{federation}/{manifest.version}",
        "source": f"urn:mizzle:{federation}",
        "type": EVENT_TYPE,
        "subject": f"release/{manifest.version}",
        "time": manifest.issued,
        "datacontenttype": "application/json",
        "data": msgspec.Raw(envelope),
    }
    return _canonical(event)


def from_cloud_event(body: bytes) -> bytes:
    """The signed manifest in a CloudEvent, byte for byte as it was signed, however a bridge has laid the JSON out.

    Raises:
        Oversized, Unreadable: this is no release's event; what it holds is for `verify` to judge.
    """
    return _canonical(_read(body, MOST_EVENT, ReleaseEvent).data)


EVENT_TYPE: Final = "io.mizzle.release.v1"


class Signature(Struct, frozen=True, forbid_unknown_fields=True):
    """An Ed25519 signature over the DSSE encoding of type and payload, and the id of the key that made it."""

    keyid: Annotated[str, Meta(pattern=r"^[0-9a-f]{1,128}(?![\s\S])")]
    sig: Annotated[bytes, Meta(min_length=64, max_length=64)]


class SignedManifest(Struct, frozen=True, forbid_unknown_fields=True, rename={"payload_type": "payloadType"}):
    """A DSSE envelope: the manifest's JSON text, byte for byte as it was signed."""

    payload: Annotated[bytes, Meta(max_length=MOST_BYTES)]
    payload_type: Annotated[str, Meta(pattern=r"^[!-~]{1,128}(?![\s\S])")]
    signatures: Annotated[tuple[Signature, ...], Meta(min_length=1, max_length=8)]


class ReleaseEvent(Struct, frozen=True):
    """What announces a release: a CloudEvent; attributes that a bridge may have added mean nothing here."""

    specversion: Literal["1.0"]
    type: Literal["io.mizzle.release.v1"]
    data: SignedManifest


def _pae(kind: str, payload: bytes) -> bytes:
    """What is signed: the DSSE protocol's pre-authentication encoding."""
    return b"DSSEv1 %d %b %d %b" % (len(kind.encode()), kind.encode(), len(payload), payload)


def _refuse_unsigned(dsse: SignedManifest, public_keys: Collection[bytes]) -> None:
    signed = _pae(dsse.payload_type, dsse.payload)
    ours = {key_id(key).hex(): key for key in public_keys}
    claims = [signature for signature in dsse.signatures if signature.keyid in ours]
    if not claims:
        named = ", ".join(signature.keyid for signature in dsse.signatures)
        raise Forged(
            f"signed by {named}, trusted here is {', '.join(ours) or 'nobody'}: a key we were not told of, or an attack"
        )
    if not any(_is_good(ours[claim.keyid], signed, claim.sig) for claim in claims):
        raise Forged(
            f"an attack or damage on the way: the signature of {claims[0].keyid} is not one over this manifest"
        )


def _is_good(public_key: bytes, signed: bytes, signature: bytes) -> bool:
    try:
        VerifyKey(public_key).verify(signed, signature)
    except (BadSignatureError, ValueError):
        return False
    return True


def _manifest(payload: bytes) -> Manifest:
    manifest = _read(payload, MOST_BYTES, Manifest)
    if any(at.utcoffset() != timedelta(0) for at in (manifest.issued, manifest.expires)):
        raise Unreadable(
            f"a manifest's instants are in UTC, got {manifest.issued.isoformat()}, {manifest.expires.isoformat()}"
        )
    return manifest


def _read(body: bytes, most: int, kind: type[T]) -> T:
    """What the JSON text `body` holds, with both bounds of every value checked and no key twice."""
    if len(body) > most:
        raise Oversized(f"at most {most} bytes of JSON are read here, got {len(body)}")
    try:
        json.loads(body.decode(), object_pairs_hook=_no_key_twice)
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"this is no {kind.__name__} in JSON: {error}") from error


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return fields


def _canonical(value: object) -> bytes:
    """JSON with the keys sorted at every level and no spaces; instants of ours end in Z."""
    return msgspec.json.encode(value, order="sorted")


known(SignedManifest, Manifest, ReleaseEvent)
