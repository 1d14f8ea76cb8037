r"""An update on the wire: its sealed header with the payload's first chunk, then the other chunks, a message each.

    part 0      envelope, then the payload's first chunk
    part i > 0  "mc", index (2 bytes, big-endian), the update's id (32 bytes), then the chunk

A chunk is 96 KiB, the last one shorter: AWS IoT Core takes no more than 128 KB a message. The parts after the first
are bound to it by the id, and all together by the payload's digest in the signed header, so they need no signature of
their own.

Which parts, of all there can be, is an integer: bit i stands for part i.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mizzle.envelope import Envelope, unseal
from mizzle.errors import Unreadable
from mizzle.messages import Run
from mizzle.vocabulary import MOST_RUNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CHUNK: Final = 96 * 1024

ALL: Final = -1
"""Every part, however many there are: of -1 every bit is set."""

_CHUNK_PREFIX: Final = struct.Struct(">2sH32s")

LATER: Final = _CHUNK_PREFIX.size
"""How many bytes come before the chunk in a part after the first."""


@dataclass(frozen=True)
class First:
    """The part that carries the signed header."""

    envelope: Envelope
    sealed: bytes
    chunk: bytes | memoryview


@dataclass(frozen=True)
class Later:
    """A part after the first; it belongs to the update of this id."""

    id: bytes
    index: int
    chunk: bytes | memoryview


def count(size: int) -> int:
    """How many parts a payload of `size` bytes takes; an empty one takes one."""
    return max(1, -(-size // CHUNK))


def split(sealed: bytes, payload: bytes, wanted: int = ALL) -> Iterator[bytes]:
    """The wanted ones of the messages that carry an update, first part first; the same bytes each time."""
    if wanted & 1:
        yield sealed + payload[:CHUNK]
    if len(payload) > CHUNK:
        identity = unseal(sealed).id
        for index in range(1, count(len(payload))):
            if wanted >> index & 1:
                yield _CHUNK_PREFIX.pack(b"mc", index, identity) + payload[index * CHUNK : (index + 1) * CHUNK]


def lacking(size: int, there: Iterable[int]) -> int:
    """Which parts of a payload of `size` bytes are missing where those in `there` are not."""
    missing = (1 << count(size)) - 1
    for index in there:
        missing &= ~(1 << index)
    return missing


def runs(which: int, most: int = MOST_RUNS) -> tuple[Run, ...]:
    """These parts as at most so many runs, the first ones first."""
    found: list[Run] = []
    first = 0
    while which and len(found) < most:
        gap = (which & -which).bit_length() - 1
        which >>= gap
        length = (~which & (which + 1)).bit_length() - 1
        which >>= length
        found.append(Run(first=first + gap, count=length))
        first += gap + length
    return tuple(found)


def named_in(listed: Iterable[Run]) -> int:
    """Which parts these runs are."""
    which = 0
    for run in listed:
        which |= ((1 << run.count) - 1) << run.first
    return which


def read(body: bytes) -> First | Later:
    """The part that `body` is; its chunk lies where it lay in the body.

    Raises:
        Unreadable: neither an envelope nor a chunk, or a chunk that is too long.
    """
    if body[:2] != b"mc":
        envelope = unseal(body)
        return First(envelope=envelope, sealed=bytes(body[: envelope.size]), chunk=_chunk(body, envelope.size))
    if len(body) < _CHUNK_PREFIX.size:
        text = f"a later part is at least {_CHUNK_PREFIX.size} bytes long, got {len(body)}"
        raise Unreadable(text)
    _, index, identity = _CHUNK_PREFIX.unpack_from(body)
    return Later(id=identity, index=index, chunk=_chunk(body, _CHUNK_PREFIX.size))


def _chunk(body: bytes, start: int) -> memoryview:
    if (length := len(body) - start) > CHUNK:
        text = f"a chunk is at most {CHUNK} bytes long, got {length}"
        raise Unreadable(text)
    return memoryview(body)[start:]
