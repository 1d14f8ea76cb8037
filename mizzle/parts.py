r"""An update on the wire: its sealed header with the payload's first chunk, then the other chunks, a message each.

    part 0      envelope, then the payload's first chunk
    part i > 0  "mc", index (2 bytes, big-endian), the update's id (32 bytes), then the chunk

A chunk is 96 KiB, the last one shorter: AWS IoT Core takes no more than 128 KB a message. The parts after the first
are bound to it by the id, and all together by the payload's digest in the signed header, so they need no signature of
their own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mizzle.envelope import Envelope, unseal
from mizzle.errors import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK: Final = 96 * 1024

_CHUNK_PREFIX: Final = struct.Struct(">2sH32s")

LATER: Final = _CHUNK_PREFIX.size
"""How many bytes come before the chunk in a part after the first."""


@dataclass(frozen=True)
class First:
    """The part that carries the signed header."""

    envelope: Envelope
    sealed: bytes
    chunk: bytes


@dataclass(frozen=True)
class Later:
    """A part after the first; it belongs to the update of this id."""

    id: bytes
    index: int
    chunk: bytes


def count(size: int) -> int:
    """How many parts a payload of `size` bytes takes; an empty one takes one."""
    return max(1, -(-size // CHUNK))


def split(sealed: bytes, payload: bytes) -> Iterator[bytes]:
    """The messages that carry an update, first part first; the same bytes each time."""
    yield sealed + payload[:CHUNK]
    if len(payload) > CHUNK:
        identity = unseal(sealed).id
        for index in range(1, count(len(payload))):
            yield _CHUNK_PREFIX.pack(b"mc", index, identity) + payload[index * CHUNK : (index + 1) * CHUNK]


def read(body: bytes) -> First | Later:
    """The part that `body` is.

    Raises:
        Unreadable: neither an envelope nor a chunk, or a chunk that is too long.
    """
    if body[:2] != b"mc":
        envelope = unseal(body)
        return First(envelope=envelope, sealed=bytes(body[: envelope.size]), chunk=_chunk(body[envelope.size :]))
    if len(body) < _CHUNK_PREFIX.size:
        text = f"a later part is at least {_CHUNK_PREFIX.size} bytes long, got {len(body)}"
        raise Unreadable(text)
    _, index, identity = _CHUNK_PREFIX.unpack_from(body)
    return Later(id=identity, index=index, chunk=_chunk(body[_CHUNK_PREFIX.size :]))


def _chunk(body: bytes) -> bytes:
    if len(body) > CHUNK:
        text = f"a chunk is at most {CHUNK} bytes long, got {len(body)}"
        raise Unreadable(text)
    return bytes(body)
