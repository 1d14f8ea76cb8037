"""Compress a payload, and take one apart that a stranger made: one zstd frame of a size that is known beforehand."""

from __future__ import annotations

from typing import Final

import zstandard

from mizzle.errors import Unreadable

LEVEL: Final = 1
"""Quantisation is the compression; what zstd takes besides is entropy slack, and level 19 takes 1 % more of it."""

MOST_WINDOW: Final = 8 * 1024 * 1024


def pack(payload: bytes) -> bytes:
    """One zstd frame that says how long its content is."""
    return zstandard.ZstdCompressor(level=LEVEL, write_content_size=True, write_checksum=False).compress(payload)


def unpack(packed: bytes, size: int) -> bytes:
    """The content of `packed`, which is exactly one frame of `size` bytes.

    Raises:
        Unreadable: it is anything else. Nothing longer than `size` is ever held.
    """
    try:
        frame = zstandard.get_frame_parameters(packed)
    except zstandard.ZstdError as error:
        raise Unreadable(f"this is no zstd frame: {error}") from error
    if frame.content_size != size or frame.window_size > MOST_WINDOW or frame.dict_id:
        raise Unreadable(f"a zstd frame of {size} bytes without a dictionary was wanted, this one claims otherwise")
    decompressor = zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW).decompressobj(read_across_frames=False)
    try:
        body = decompressor.decompress(packed)
    except zstandard.ZstdError as error:
        raise Unreadable(f"this zstd frame is damaged: {error}") from error
    if len(body) != size or not decompressor.eof or decompressor.unused_data:
        raise Unreadable(f"a zstd frame of {size} bytes and nothing after it was wanted, got {len(body)} bytes")
    return body
