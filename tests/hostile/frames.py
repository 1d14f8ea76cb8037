"""zstd frames that nobody honest makes, written by hand after RFC 8878: none of them may be unpacked.

`bad_frames(content)` is every frame by name; each is wrong for whoever expects `len(content)` bytes, at least 16.
"""

import struct
from collections.abc import Iterator

import zstandard

MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE = b"\x50\x2a\x4d\x18"
LARGEST_BLOCK = 128 * 1024
GIB = 2**30
TIB = 2**40

_RAW, _RLE = 0, 1


def bad_frames(content: bytes) -> dict[str, bytes]:
    """Every bad frame for a reader who expects exactly `content`; those cut short are in `cut`."""
    good, size = packed(content), len(content)
    skipped = SKIPPABLE + struct.pack("<I", 4) + b"skip"
    return {
        "nothing": b"",
        "the magic number alone": MAGIC,
        "no zstd": content,
        "an older format": b"\x27" + good[1:],
        "a bomb of 32 kB that says it is 1 GiB": bomb(GIB, GIB),
        "a bomb of 32 kB that says it is as long as wanted": bomb(size, GIB),
        "a bomb of 32 kB that does not say how long it is": bomb(None, GIB),
        "a size of 1 TiB": frame(raw(content), declared=TIB),
        "a size of 1 TiB and nothing in it": frame(raw(b""), declared=TIB),
        "the largest size": frame(raw(content), declared=2**64 - 2),
        "no size": frame(raw(content), declared=None),
        "a size that is one too small": frame(raw(content), declared=size - 1),
        "a size that is one too large": frame(raw(content), declared=size + 1),
        "a size of 0": frame(raw(content), declared=0),
        "one byte less than it says": frame(raw(content[:-1]), declared=size),
        "one byte more than it says": frame(raw(content + b"+"), declared=size),
        "nothing in it": frame(raw(b""), declared=size),
        "a window of 2^31": frame(raw(content), declared=size, window_log=31),
        "a window of 2^41": frame(raw(content), declared=size, window_log=41),
        "a window of 16 MiB": frame(raw(content), declared=size, window_log=24),
        "a dictionary by its number": frame(raw(content), declared=size, dictionary=7),
        "a dictionary without a number": with_dictionary(content),
        "a bit that is reserved": good[:4] + bytes([good[4] | 0x08]) + good[5:],
        "a block of the reserved kind": frame(block(3, content, last=True), declared=size),
        "a block that looks back before the beginning": frame(block(2, b"\xff" * 16, last=True), declared=size),
        "a block longer than a block may be": frame(
            block(_RLE, b"a", last=True, length=LARGEST_BLOCK + 1), declared=size
        ),
        "no last block": frame(block(_RAW, content, last=False), declared=size),
        "a checksum that is wrong": checksummed(content)[:-1] + bytes([checksummed(content)[-1] ^ 1]),
        "a skippable frame alone": skipped,
        "a skippable frame that claims 4 GiB": SKIPPABLE + b"\xff\xff\xff\xff",
        "a skippable frame in front": skipped + good,
        "a skippable frame behind": good + skipped,
        "the same frame twice": good + good,
        "two frames, each with one half": packed(content[: size // 2]) + packed(content[size // 2 :]),
        "an empty frame in front": packed(b"") + good,
        "an empty frame behind": good + packed(b""),
        "one byte behind": good + b"\0",
        "a megabyte behind": good + bytes(2**20),
    }


def cut(content: bytes) -> Iterator[bytes]:
    """The good frame and one with a checksum, each cut short at every byte."""
    for whole in (packed(content), checksummed(content)):
        yield from (whole[:length] for length in range(len(whole)))


def packed(content: bytes) -> bytes:
    """The frame that an honest device makes."""
    return zstandard.ZstdCompressor(level=1).compress(content)


def checksummed(content: bytes) -> bytes:
    """An honest frame that ends in a checksum."""
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(content)


def with_dictionary(content: bytes) -> bytes:
    """A frame that refers to a dictionary and does not say so: the content itself, so that hardly anything is left."""
    dictionary = zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdCompressor(level=1, dict_data=dictionary).compress(content)


def bomb(declared: int | None, real: int) -> bytes:
    """A frame that holds `real` zero bytes, 128 KiB in every 4: a gigabyte in 32 kB."""
    count = real // LARGEST_BLOCK
    blocks = b"".join(block(_RLE, b"\0", last=at == count - 1, length=LARGEST_BLOCK) for at in range(count))
    return frame(blocks, declared=declared, window_log=17)


def raw(content: bytes) -> bytes:
    """The content in blocks that are not compressed; no content is one empty block."""
    starts = range(0, max(1, len(content)), LARGEST_BLOCK)
    return b"".join(
        block(_RAW, content[at : at + LARGEST_BLOCK], last=at + LARGEST_BLOCK >= len(content)) for at in starts
    )


def block(kind: int, body: bytes, *, last: bool, length: int | None = None) -> bytes:
    """One block: 21 bits of length, 2 of kind, 1 for the last [RFC 8878, Sec. 3.1.1.2]."""
    length = len(body) if length is None else length
    return (int(last) | kind << 1 | length << 3).to_bytes(3, "little") + body


def frame(blocks: bytes, *, declared: int | None, window_log: int = 17, dictionary: int | None = None) -> bytes:
    """A frame of these blocks with a window of its own, whatever it declares [RFC 8878, Sec. 3.1.1.1]."""
    content_flag = 0 if declared is None else 3  # 8 bytes of size
    dictionary_flag = 0 if dictionary is None else 1  # 1 byte
    descriptor = bytes([content_flag << 6 | dictionary_flag, (window_log - 10) << 3])
    name = b"" if dictionary is None else bytes([dictionary])
    size = b"" if declared is None else struct.pack("<Q", declared)
    return MAGIC + descriptor + name + size + blocks
