"""A blob comes together from its pieces in any order, and only if it is the one that was named."""

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mizzle.blobs import PIECE, Assembly, pieces
from mizzle.errors import Forged, Oversized, Unreadable

MOST_RETAINED = 32_000
"""What brokers retain (FACTS 12)."""

SIZES = st.integers(0, 5 * PIECE) | st.sampled_from([0, 1, PIECE, 2 * PIECE])


def blob_of(size: int) -> bytes:
    return (bytes(i % 251 for i in range(1000)) * (size // 1000 + 1))[:size]


def assembly(blob: bytes, most: int = 2**31) -> Assembly:
    return Assembly(hashlib.sha256(blob).digest(), most)


@given(SIZES, st.randoms(use_true_random=False))
def test_pieces_make_the_blob_in_any_order_and_any_number(size: int, chance: random.Random) -> None:
    blob = blob_of(size)
    *deal, last = chance.sample(list(enumerate(pieces(blob))), -(-size // PIECE) or 1)
    whole = assembly(blob)
    assert {whole.add(index, piece) for index, piece in [*deal, *deal]} <= {None}
    assert whole.add(*last) == blob


@given(SIZES)
def test_every_piece_is_short_enough_to_be_retained(size: int) -> None:
    assert all(len(piece) <= MOST_RETAINED for piece in pieces(blob_of(size)))


@given(SIZES)
def test_a_blob_longer_than_wanted_is_refused_at_its_first_piece(size: int) -> None:
    blob = blob_of(size + 1)
    with pytest.raises(Oversized):
        assembly(blob, most=size).add(0, next(pieces(blob)))


@given(st.integers(1, 4 * PIECE), st.data())
def test_a_blob_with_a_changed_byte_is_forged_and_the_true_one_comes_afterwards(size: int, data: st.DataObject) -> None:
    blob = bytearray(blob_of(size))
    at = data.draw(st.integers(0, size - 1))
    blob[at] ^= data.draw(st.integers(1, 255))
    whole = assembly(blob_of(size))
    for index, piece in list(enumerate(pieces(bytes(blob))))[:-1]:
        whole.add(index, piece)
    (index, last) = list(enumerate(pieces(bytes(blob))))[-1]
    with pytest.raises(Forged):
        whole.add(index, last)
    assert [whole.add(index, piece) for index, piece in enumerate(pieces(blob_of(size)))][-1] == blob_of(size)


@given(st.binary(max_size=100) | st.binary(max_size=100).map(lambda body: b"mb" + body), st.integers(0, 10))
@settings(max_examples=300)
def test_other_bytes_are_refused_as_unreadable_or_wait_for_the_rest(body: bytes, index: int) -> None:
    try:
        assert assembly(b"a blob").add(index, body) is None
    except Unreadable:
        return


def test_a_piece_out_of_place_is_refused_and_spoils_nothing() -> None:
    blob = blob_of(2 * PIECE + 5)
    whole = assembly(blob)
    first, second, third = pieces(blob)
    for index, piece in ((0, third), (2, first), (3, third)):
        with pytest.raises(Unreadable):
            whole.add(index, piece)
    assert [whole.add(index, piece) for index, piece in enumerate((first, second, third))] == [None, None, blob]


def test_an_empty_piece_after_the_last_is_refused_and_spoils_nothing() -> None:
    blob = blob_of(2 * PIECE + 5)
    whole = assembly(blob)
    with pytest.raises(Unreadable):
        whole.add(7, next(pieces(blob))[:6])
    assert [whole.add(index, piece) for index, piece in enumerate(pieces(blob))][-1] == blob
