r"""Models, manifests and plans on retained topics: cut into small pieces, put together by digest.

A piece is `"mb"`, the blob's whole size (4 bytes, big-endian), then up to 30,720 bytes. Its place is the topic's last
level. The digest in the topic is a claim of the broker until the whole blob hashes to it.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mizzle.errors import Forged, Oversized, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE: Final = 30 * 1024
MOST_BLOB: Final = 2**31

_FRONT: Final = struct.Struct(">2sI")

PREFIX: Final = _FRONT.size
"""How many bytes come before a piece's content."""


def pieces(blob: bytes) -> Iterator[bytes]:
    """The messages that carry `blob`, in order; an empty blob is one piece."""
    for start in range(0, max(1, len(blob)), PIECE):
        yield _FRONT.pack(b"mb", len(blob)) + blob[start : start + PIECE]


@dataclass
class Assembly:
    """The pieces of one blob as they come, in any order and any number of times; at most `most` bytes of them."""

    digest: bytes
    most: int = MOST_BLOB
    size: int | None = None
    found: dict[int, bytes] = field(default_factory=dict)

    def add(self, index: int, piece: bytes) -> bytes | None:
        """Take a piece; the whole blob once its last piece has come, None before.

        Raises:
            Unreadable: this is no piece, or does not fit the others.
            Oversized: the blob would be longer than `most`.
            Forged: the pieces are all there and do not hash to the digest; the assembly begins again.
        """
        size, content = _read(piece)
        if size > self.most:
            text = f"a blob of at most {self.most} bytes was wanted, this one claims {size}"
            raise Oversized(text)
        fits = 0 <= index < _count(size) and len(content) == min(PIECE, size - index * PIECE)
        if self.size not in (None, size) or not fits:
            text = f"piece {index} of a blob of {size} bytes has {len(content)}, or another piece claims another size"
            raise Unreadable(text)
        self.size = size
        self.found[index] = content
        if len(self.found) < _count(size):
            return None
        return self._whole()

    def _whole(self) -> bytes:
        blob = b"".join(self.found[index] for index in sorted(self.found))
        if hashlib.sha256(blob).digest() != self.digest:
            self.found.clear()
            self.size = None
            text = f"the pieces of blob {self.digest.hex()} do not hash to their name"
            raise Forged(text)
        return blob


def _count(size: int) -> int:
    return max(1, -(-size // PIECE))


def _read(piece: bytes) -> tuple[int, bytes]:
    if len(piece) < PREFIX or piece[:2] != b"mb":
        text = f"a piece of a blob begins with 'mb' and a size, got {piece[:6].hex()}"
        raise Unreadable(text)
    return _FRONT.unpack_from(piece)[1], piece[PREFIX:]
