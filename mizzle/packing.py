"""A payload made smaller with zstd, and made whole again without ever believing what a frame claims.

What is unpacked was made by somebody else, and a frame of 32 kB can claim, and hold, a gigabyte. So it is exactly one
frame, says how much it holds, and that is what the reader expected before it looked; only then is anything allocated.

Traps of the library that this file is made around [zstandard 0.25; FACTS 18]: `max_output_size` is ignored where a
frame declares its size; a frame that declares 0 is answered without a look at what follows; bytes after a frame are
ignored unless they are forbidden; and a stream that is read piece by piece notices a lying size only at its end.
"""

from typing import Final

import zstandard

from mizzle.errors import Unreadable

LEVEL: Final = 1
"""Within 1 % of level 19 on every kind of update (FACTS 20)."""

MOST_WINDOW: Final = 8 * 1024 * 1024
"""How far back a frame may refer: so much is held while it is unpacked [RFC 8878, Sec. 3.1.1.1.2]."""

_MAGIC: Final = b"\x28\xb5\x2f\xfd"


def pack(payload: bytes) -> bytes:
    """One zstd frame that holds `payload` and says how long it is."""
    return zstandard.ZstdCompressor(level=LEVEL).compress(payload)


def unpack(packed: bytes, size: int) -> bytes:
    """The `size` bytes that `packed` holds; no more than `size` is allocated for them, whatever it claims.

    Raises:
        Unreadable: not exactly one frame that declares exactly `size` bytes, holds them, needs no dictionary and looks
        back at most 8 MiB; the text says which.
    """
    _refuse_claims(packed, size)
    if size == 0:
        return _empty(packed)
    try:
        return zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW).decompress(packed, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Unreadable(f"a zstd frame of {size} bytes was wanted, this one is damaged: {error}") from error


def _refuse_claims(packed: bytes, size: int) -> None:
    """Return if the frame's header claims what it may; the header is at most 18 bytes long."""
    if packed[:4] != _MAGIC:
        raise Unreadable(f"a zstd frame begins with {_MAGIC.hex()}, got {packed[:4].hex()}: packed by other means")
    try:
        frame = zstandard.get_frame_parameters(packed[:18])
    except zstandard.ZstdError as error:
        raise Unreadable(f"the header of a zstd frame was wanted, got {packed[:18].hex()}: {error}") from error
    if frame.content_size == zstandard.CONTENTSIZE_UNKNOWN:
        raise Unreadable(f"a zstd frame that declares its {size} bytes was wanted, this one declares nothing")
    if frame.content_size != size:
        raise Unreadable(f"a zstd frame of {size} bytes was wanted, this one claims {frame.content_size}")
    if frame.dict_id:
        raise Unreadable(f"a zstd frame without a dictionary was wanted, this one wants dictionary {frame.dict_id}")
    if frame.window_size > MOST_WINDOW:
        raise Unreadable(f"a zstd frame looks back at most {MOST_WINDOW} bytes, this one wants {frame.window_size}")


def _empty(packed: bytes) -> bytes:
    """Nothing, if this is the frame of nothing: the library would not look further than its header."""
    if packed != pack(b""):
        raise Unreadable(f"the zstd frame of no bytes is {pack(b'').hex()}, got {packed[:18].hex()}")
    return b""
