"""Everything that a hostile device tries, and how each try is to end.

A deed ends in a *receipt*, signed: refused with its reason, or counted where nothing is wrong with it; as a *stray*: an
unauthenticated delivery, kept as a dead letter with its reason; or, where somebody may not enrol, in the *audit* log.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import msgpack
import numpy as np

from mizzle import topics
from mizzle.codec import encode
from mizzle.envelope import FIXED, Key, Purpose, unseal
from mizzle.messages import BlobRef, Enrolment
from mizzle.parts import CHUNK
from mizzle.terms import grid_of
from mizzle.topics import Up
from tests.hostile.envelopes import sealed_header
from tests.hostile.frames import bad_frames, cut, packed
from tests.hostile.headers import bad_headers
from tests.wire import CONTENT_TYPE, text, user_property

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mizzle.messages import Invitation
    from mizzle.plan import Plan
    from tests.hostile.actor import Voice

PACKET: Final = 1024 * 1024
"""The broker takes no larger packet."""


@dataclass(frozen=True)
class Ending:
    """How something ends: by a receipt or as a stray, and for which reason."""

    by: Literal["receipt", "stray", "audit"]
    reason: str


@dataclass(frozen=True)
class Deed:
    """Messages that are one try; the last one brings it to its end."""

    name: str
    topic: str
    bodies: tuple[bytes, ...]
    ending: Ending
    beside: bytes = b""
    """What stands beside each body in its packet (MQTT 5 §3.3.2.3)."""

    @property
    def update(self) -> bytes | None:
        """The id of the update that it is, if it ends by a receipt."""
        return unseal(self.bodies[0]).id if self.ending.by == "receipt" else None


def refused(reason: str) -> Ending:
    """A signed receipt says that it is refused, and why."""
    return Ending("receipt", reason)


def stray(reason: str) -> Ending:
    """The gateway believes none of it, and keeps how it begins as a dead letter."""
    return Ending("stray", reason)


COUNTED: Final = Ending("receipt", "counted")
AUDITED: Final = Ending("audit", "enrolment.refused")


def modest(plan: Plan) -> bytes:
    """A payload that is as good as any: the level 1 everywhere, times 1, of a plan of 8 bits; it compresses well."""
    return b"\1\0\0\0" + b"\x80" * grid_of(plan).padded


def contents(plan: Plan) -> dict[str, tuple[bytes, Ending]]:
    """Payloads that no honest device makes, and how an invited device's update with it ends."""
    size, full = plan.model.parameters, modest(plan)
    noise = random.Random(3).randbytes(len(full))
    found = {
        "32-bit floats": (floats(1.0, size), refused("shape")),
        "16-bit floats": (floats(1.0, size, "<f2"), refused("shape")),
        "integers of 16 bits": (floats(1, size, "<i2"), refused("shape")),
        "a model of another shape": (full[:4] + full[4:] * 2, refused("shape")),
        "a scalar": (floats(1.0, 1), refused("shape")),
        "no payload": (b"", refused("shape")),
        "one byte too few": (noise[:-1], refused("shape")),
        "one byte too many": (noise + b"\0", refused("shape")),
        "NaN everywhere": (floats(float("nan"), size)[: len(full)], refused("norm")),
        "infinity everywhere": (floats(float("inf"), size)[: len(full)], refused("norm")),
        "minus infinity everywhere": (floats(float("-inf"), size)[: len(full)], refused("norm")),
        "minus zero everywhere": (floats(-0.0, size)[: len(full)], refused("norm")),
        "a norm of 10^30": (floats(1e30, size)[: len(full)], refused("norm")),
        "the largest multiplier": (b"\xff" * len(full), refused("norm")),
        "the multiplier big-endian": (full[:4][::-1] + full[4:], refused("norm")),
        "chance": (b"\0\0\0\xff" + noise[4:], refused("norm")),
        "denormals, which are small integers here": (floats(1e-45, size)[: len(full)], COUNTED),
        "a multiplier of 0, which is the zero update": (bytes(4) + noise[4:], COUNTED),
        "a good frame": (packed(full), COUNTED),
        "a frame cut in the middle": (packed(full)[: len(packed(full)) // 2], refused("shape")),
        "a frame cut by its last byte": (packed(full)[:-1], refused("shape")),
    }
    frames = bad_frames(full)
    frames |= {f"a frame cut to {len(body)} bytes": body for body in list(cut(full))[5:25:5]}
    del frames["no zstd"]  # what it holds is the good payload, as it is
    del frames["a megabyte behind"]  # the gateway refuses it by its header, so it is no member's one update
    return found | {f"zstd: {name}": (frame, refused("shape")) for name, frame in frames.items()}


def most_payload(plan: Plan) -> int:
    """No payload may be longer."""
    return 4 * plan.model.parameters + 4096


def at_any_time(voice: Voice, known: Invitation, past: Invitation) -> Iterator[Deed]:
    """What an enrolled device says that nobody invited; `known` is somebody's invitation to the window that is open."""
    yield from of_another_time_or_place(voice, known, past)
    yield from under_a_good_signature(voice, known)
    yield from under_no_good_signature(voice, known)
    yield from false_enrolments(voice)
    yield from garbage(voice)
    yield from beside_a_body(voice)


def of_another_time_or_place(voice: Voice, known: Invitation, past: Invitation) -> Iterator[Deed]:
    """A stale, future or unknown base, window, federation or epoch; and sizes that no plan allows."""
    payload, other, topic = b"levels", hashlib.sha256(b"other").digest(), voice.topic(Up.UPDATE)
    limit = most_payload(voice.plan)

    def told(name: str, reason: str, epoch: int | None = None, **changes: Any) -> Deed:
        return Deed(name, topic, voice.parts(known, payload, epoch, **changes), refused(reason))

    yield told("window 0", "unknown-window", window=0)
    yield told("the window after this one", "unknown-window", window=known.window + 1)
    yield told("a window far away", "unknown-window", window=known.window + 1000)
    yield told("the last window there can be", "unknown-window", window=2**53)
    yield told("an unknown base", "wrong-base", base=other)
    yield told("a base of an earlier window", "wrong-base", base=past.base.digest)
    yield told("the base of this window for an earlier one", "wrong-base", window=past.window)
    yield told("a base of zeros", "wrong-base", base=bytes(32))
    yield told("an unknown plan", "wrong-plan", plan=other)
    yield told("the next epoch", "wrong-epoch", epoch=known.epoch + 1)
    yield told("the last epoch", "wrong-epoch", epoch=2**32 - 1)
    yield told("an epoch and a window that are unknown", "wrong-epoch", epoch=7, window=2**53)
    yield told("no invitation", "uninvited")
    yield told("a payload one byte too long", "oversized", payload=BlobRef(digest=other, size=limit + 1))
    yield told("a payload of 4 GiB", "oversized", payload=BlobRef(digest=other, size=2**32))
    frame = bad_frames(modest(voice.plan))["a megabyte behind"]
    yield Deed("a frame and a megabyte behind", topic, voice.parts(known, frame)[:1], refused("oversized"))
    for name, whole in {
        "another federation": voice.parts(known, payload, federation="another"),
        "another device": voice.parts(known, payload, device="somebody"),
    }.items():
        yield Deed(name, topic, whole, stray("forged"))
    for name, blob in {
        "another payload than was signed": BlobRef(digest=other, size=len(payload)),
        "a payload shorter than was signed": BlobRef(digest=other, size=len(payload) + 1),
        "a payload longer than was signed": BlobRef(digest=other, size=len(payload) - 1),
    }.items():
        yield Deed(name, topic, voice.parts(known, payload, payload=blob), stray("payload"))


def under_a_good_signature(voice: Voice, known: Invitation) -> Iterator[Deed]:
    """Headers that are no message, on every topic that has one."""
    good = msgpack.unpackb(encode(voice.update(known, b"levels")))
    for kind, purpose in PURPOSES.items():
        for name, header in bad_headers(good).items():
            body = voice.sealed(header, purpose)
            yield Deed(f"{kind}: a header of {name}", voice.topic(kind), (body,), stray("unreadable"))


def under_no_good_signature(voice: Voice, known: Invitation) -> Iterator[Deed]:
    """Envelopes that are damaged, forged, or of another kind, on every topic that has one."""
    header = encode(voice.update(known, b"levels"))
    stranger = Key(hashlib.sha256(voice.name.encode()).digest())
    for kind, purpose in PURPOSES.items():
        other = Purpose.DECLINE if purpose is not Purpose.DECLINE else Purpose.PRESENCE
        sealed = voice.sealed(header, purpose)
        forgeries = {
            "another key's signature": sealed_header(header, purpose, stranger, counter=next(voice.counter)),
            "a signature for another purpose": voice.sealed(header, other),
            "a server's purpose": voice.sealed(header, Purpose.RECEIPT),
            "a changed signature": changed(voice.sealed(header, purpose), 50),
            "a changed counter": changed(voice.sealed(header, purpose), 19),
            "a changed epoch": changed(voice.sealed(header, purpose), 11),
        }
        damaged = {
            "another magic": b"mx" + sealed[2:],
            "another protocol": changed(sealed, 2),
            "another suite": changed(sealed, 3),
            "an unknown purpose": sealed[:4] + b"\x63" + sealed[5:],
            "a reserved byte": changed(sealed, 5),
            "a header longer than it is": voice.sealed(b"", purpose, length=4096),
            "a header longer than may be": voice.sealed(b"", purpose, length=2**16 - 1) + bytes(2**16 - 1),
            "half an envelope": sealed[: FIXED // 2],
            "an envelope without its header": sealed[:FIXED],
        }
        if kind is Up.ENROL:  # its key is in the header, and this header has none
            damaged |= {name: forgeries.pop(name) for name in tuple(forgeries)}
        for name, body in forgeries.items():
            yield Deed(f"{kind}: {name}", voice.topic(kind), (body,), stray("forged"))
        for name, body in damaged.items():
            yield Deed(f"{kind}: {name}", voice.topic(kind), (body,), stray("unreadable"))


def false_enrolments(voice: Voice) -> Iterator[Deed]:
    """Enrolments that are well written, of somebody who may not have what they ask for."""
    federation, topic = voice.plan.federation, voice.topic(Up.ENROL)
    thief = Key(hashlib.sha256(b"thief" + voice.name.encode()).digest())

    def asked(device: str, signer: Key) -> bytes:
        asking = Enrolment(federation=federation, device=device, public_key=thief.public_key, proof=bytes(32))
        return sealed_header(encode(asking), Purpose.ENROLMENT, signer, counter=next(voice.counter))

    yield Deed("enrol: a key that did not sign", topic, (asked(voice.name, voice.key),), stray("forged"))
    yield Deed("enrol: in another's name", topic, (asked("somebody", thief),), stray("forged"))
    yield Deed("enrol: another key for a name that is taken", topic, (asked(voice.name, thief),), AUDITED)


def garbage(voice: Voice) -> Iterator[Deed]:
    """Bytes that are nothing at all, on every topic that a device may publish on and on some that are none."""
    federation, own = voice.plan.federation, topics.shard(voice.name)
    strange = {
        "another shard": f"mz/1/{federation}/up/{(own + 1) % 64}/{voice.name}/update",
        "no shard": f"mz/1/{federation}/up/x/{voice.name}/update",
        "no kind": f"mz/1/{federation}/up/{own}/{voice.name}/model",
    }
    places = {str(kind): (voice.topic(kind), "unreadable") for kind in Up}
    places |= {name: (topic, "topic") for name, topic in strange.items()}
    for place, (topic, reason) in places.items():
        for name, body in rubbish(topic).items():
            yield Deed(f"{place}: {name}", topic, (body,), stray(reason))
    later = b"mc" + bytes(2) + hashlib.sha256(b"nothing").digest()
    for name, (body, reason) in {
        "a later part of no update": (later + b"more", "orphan"),
        "a later part that is too long": (later + bytes(CHUNK + 1), "unreadable"),
        "a later part cut short": (later[:-1], "unreadable"),
    }.items():
        yield Deed(name, voice.topic(Up.UPDATE), (body,), stray(reason))


def beside_a_body(voice: Voice) -> Iterator[Deed]:
    """Properties of a packet that a client library would choke on, in words or in number."""
    for name, beside in {
        "a user property that libraries refuse": user_property("a", "b\ufeffc"),
        "a content type that libraries refuse": CONTENT_TYPE + text("a\ufeff"),
        "200,000 user properties": user_property("", "") * 200_000,
    }.items():
        yield Deed(name, voice.topic(Up.PROBE), (name.encode(),), stray("unreadable"), beside)


def rubbish(seed: str) -> dict[str, bytes]:
    """Bytes of every length by their name; the same ones for the same seed."""
    chance = random.Random(seed)
    random_ones = {f"{size} bytes at random": b"?" + chance.randbytes(size - 1) for size in (1, 99, 100, 101, 4196)}
    largest = PACKET - 10 - len(seed)
    return {
        "nothing": b"",
        **random_ones,
        "a chunk at random": b"?" + chance.randbytes(CHUNK),
        "the largest packet of 0x90": b"\x90" * largest,
        "the largest packet at random": b"?" + chance.randbytes(largest - 1),
        "an envelope at random": b"mz\x01\x01" + chance.randbytes(500),
        "text": b"{'update': __import__('os')}",
    }


def floats(value: float, count: int, kind: str = "<f4") -> bytes:
    """So many equal numbers, as a tensor's bytes."""
    return np.full(count, value, kind).tobytes()


def changed(body: bytes, at: int) -> bytes:
    """The bytes with one bit of one of them changed."""
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


PURPOSES: Final = {
    Up.UPDATE: Purpose.UPDATE,
    Up.PRESENCE: Purpose.PRESENCE,
    Up.DECLINE: Purpose.DECLINE,
    Up.ENROL: Purpose.ENROLMENT,
}
