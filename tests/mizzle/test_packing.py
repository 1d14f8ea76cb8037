"""What was packed is unpacked, and nothing else is; see tests/hostile/frames.py."""

import os
import random
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from mizzle.errors import Unreadable
from mizzle.packing import MOST_WINDOW, pack, unpack
from tests.hostile.frames import bad_frames, bomb, cut, frame, packed, raw
from tests.hostile.memory import MIB, forget_peak, peak, resident

CONTENT = bytes(range(256)) * 5 + bytes(1000)
LARGE = random.Random(1).randbytes(3 * MIB) + bytes(9 * MIB)
"""Longer than a window may be, and than one block."""

FRAMES = bad_frames(CONTENT)


@given(st.binary(max_size=5000))
def test_what_was_packed_comes_back(payload: bytes) -> None:
    assert unpack(pack(payload), len(payload)) == payload


def test_a_payload_longer_than_a_window_comes_back() -> None:
    small = pack(LARGE)
    assert len(small) < len(LARGE)
    assert zstandard.get_frame_parameters(small).window_size <= MOST_WINDOW
    assert unpack(small, len(LARGE)) == LARGE


def test_equal_payloads_are_packed_into_equal_bytes() -> None:
    assert pack(CONTENT) == pack(CONTENT)


def test_a_frame_that_another_encoder_made_is_unpacked_too() -> None:
    assert unpack(frame(raw(CONTENT), declared=len(CONTENT)), len(CONTENT)) == CONTENT
    assert unpack(frame(raw(CONTENT), declared=len(CONTENT), window_log=23), len(CONTENT)) == CONTENT


@pytest.mark.parametrize("name", FRAMES)
def test_a_bad_frame_is_unreadable(name: str) -> None:
    with pytest.raises(Unreadable, match="zstd frame"):
        unpack(FRAMES[name], len(CONTENT))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a dictionary by its number", "wants dictionary 7"),
        ("a size of 1 TiB", "claims 1099511627776"),
        ("a window of 2^31", "wants 2147483648"),
        ("no size", "declares nothing"),
    ],
)
def test_a_refusal_says_what_was_claimed(name: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        unpack(FRAMES[name], len(CONTENT))


def test_a_frame_cut_short_at_any_byte_is_unreadable() -> None:
    for short in cut(CONTENT):
        with pytest.raises(Unreadable):
            unpack(short, len(CONTENT))


@given(st.binary(max_size=300), st.integers(0, 300))
def test_other_bytes_are_unreadable(body: bytes, size: int) -> None:
    with pytest.raises(Unreadable):
        unpack(body if body[:4] != b"\x28\xb5\x2f\xfd" else body[1:], size)


@given(st.data())
def test_a_changed_byte_makes_another_payload_of_the_same_size_or_none(data: st.DataObject) -> None:
    changed = bytearray(packed(CONTENT))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = unpack(bytes(changed), len(CONTENT))
    except Unreadable:
        return
    assert len(found) == len(CONTENT)


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1, 0, 2**40])
def test_a_good_frame_of_another_size_than_expected_is_unreadable(size: int) -> None:
    with pytest.raises(Unreadable, match=f"{size} bytes"):
        unpack(packed(CONTENT), size)


@pytest.mark.parametrize("behind", [b"\0", raw(CONTENT), packed(b""), packed(CONTENT)])
def test_behind_the_frame_of_nothing_there_is_nothing(behind: bytes) -> None:
    """The library answers a frame that declares 0 bytes without a look at the rest."""
    assert unpack(packed(b""), 0) == b""
    with pytest.raises(Unreadable):
        unpack(packed(b"") + behind, 0)
    with pytest.raises(Unreadable):
        unpack(frame(raw(CONTENT), declared=0), 0)


@pytest.mark.parametrize("content", [CONTENT, bytes(range(256)) * 4096], ids=["short", "longer than a block"])
def test_no_bad_frame_makes_us_allocate_what_it_claims_or_holds(content: bytes) -> None:
    """Neither in Python nor in the library, whose own memory only the kernel counts.

    Read piece by piece, a bomb that declares a megabyte is a gigabyte before it is found out: at its last block.
    """
    frames = bad_frames(content).values()
    forget_peak(os.getpid())
    before = resident(os.getpid())
    tracemalloc.start()
    try:
        for body in frames:
            with pytest.raises(Unreadable):
                unpack(body, len(content))
        allocated = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert allocated < 8 * MIB
    assert peak(os.getpid()) - before < 32 * MIB


def test_the_bomb_is_one() -> None:
    """Else the tests above would prove nothing: 32 kB, and the library by itself makes what was claimed of it."""
    bytes_of_it, claimed = bomb(64 * MIB, 64 * MIB), len(bomb(2**30, 2**30))
    assert claimed < 33 * 1024
    assert len(zstandard.ZstdDecompressor().decompress(bytes_of_it, max_output_size=100)) == 64 * MIB
