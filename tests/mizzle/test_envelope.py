"""An envelope is opened by the key that sealed it, for what it was sealed for, and not with a bit of it changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizzle.codec import decode_from_device
from mizzle.envelope import FIXED, MOST_HEADER, Envelope, Key, Purpose, key_id, seal, unseal
from mizzle.errors import Forged, Oversized, Unreadable
from mizzle.messages import Decline, Message, Rejection
from tests.mizzle.some import FROM_DEVICE

KEY, STRANGER = Key(b"k" * 32), Key(b"s" * 32)
DECLINE = Decline(federation="watch-har", device="pump-7", window=7, reason="battery")
SEALED = seal(DECLINE, Purpose.DECLINE, KEY, epoch=1, counter=2)

PURPOSES = st.sampled_from(Purpose)
EPOCHS = st.integers(0, 2**32 - 1)
COUNTERS = st.integers(0, 2**63 - 1)


def opened(body: bytes, key: Key = KEY) -> Envelope:
    envelope = unseal(body)
    envelope.verify(key.public_key)
    return envelope


@given(FROM_DEVICE, PURPOSES, EPOCHS, COUNTERS, st.binary(max_size=50))
def test_what_is_sealed_is_opened_whatever_follows(
    message: Message, purpose: Purpose, epoch: int, counter: int, behind: bytes
) -> None:
    sealed = seal(message, purpose, KEY, epoch, counter)
    envelope = opened(sealed + behind)
    assert (envelope.purpose, envelope.epoch, envelope.counter) == (purpose, epoch, counter)
    assert (envelope.key_id, envelope.size) == (key_id(KEY.public_key), len(sealed))
    assert decode_from_device(envelope.header) == message


@given(st.integers(0, 8 * len(SEALED) - 1))
def test_a_flipped_bit_anywhere_is_refused(bit: int) -> None:
    body = bytearray(SEALED)
    body[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Unreadable):
        opened(bytes(body))


@given(st.integers(0, len(SEALED) - 1))
def test_an_envelope_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(Unreadable):
        unseal(SEALED[:length])


@given(st.binary(max_size=300) | st.binary(min_size=FIXED, max_size=300).map(lambda body: b"mz\1\1\4\0" + body))
def test_other_bytes_are_refused_as_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        opened(body)


def test_another_key_is_refused_by_its_name() -> None:
    with pytest.raises(Forged, match=f"the envelope names key {key_id(KEY.public_key).hex()}"):
        opened(SEALED, STRANGER)


def test_a_key_of_small_order_is_refused() -> None:
    """Under the neutral element one signature fits every message (FACTS 9)."""
    neutral = b"\1" + bytes(31)
    body = bytearray(SEALED)
    body[20:36] = key_id(neutral)
    body[36:100] = neutral + bytes(32)
    with pytest.raises(Forged):
        unseal(bytes(body)).verify(neutral)


@given(PURPOSES, PURPOSES)
def test_a_signature_for_one_purpose_fits_no_other(one: Purpose, other: Purpose) -> None:
    mine, theirs = (unseal(seal(DECLINE, purpose, KEY, 1, 2)) for purpose in (one, other))
    assert (mine.signed == theirs.signed) == (one == other)
    body = bytearray(seal(DECLINE, other, KEY, 1, 2))
    body[36:100] = mine.signature
    if one == other:
        opened(bytes(body))
    else:
        with pytest.raises(Forged):
            opened(bytes(body))


def test_a_second_signature_over_the_same_bytes_is_no_second_update() -> None:
    other = SEALED[:36] + bytes(64) + SEALED[100:]
    assert unseal(other).id == unseal(SEALED).id


def test_every_field_that_is_signed_changes_the_id() -> None:
    ids = {
        unseal(sealed).id
        for sealed in (
            SEALED,
            seal(DECLINE, Purpose.DECLINE, KEY, epoch=2, counter=2),
            seal(DECLINE, Purpose.DECLINE, KEY, epoch=1, counter=3),
            seal(DECLINE, Purpose.PRESENCE, KEY, epoch=1, counter=2),
            seal(DECLINE, Purpose.DECLINE, STRANGER, epoch=1, counter=2),
        )
    }
    assert len(ids) == 5


def test_sealing_again_gives_the_same_bytes() -> None:
    assert seal(DECLINE, Purpose.DECLINE, KEY, epoch=1, counter=2) == SEALED


def test_a_header_longer_than_allowed_is_not_sealed() -> None:
    long = Rejection(window=7, members=(bytes(32),) * 200)
    with pytest.raises(Oversized, match=f"at most {MOST_HEADER} bytes"):
        seal(long, Purpose.UPDATE, KEY, epoch=1, counter=2)


def test_a_key_in_a_log_does_not_give_its_seed_away() -> None:
    assert repr(KEY) == f"Key({key_id(KEY.public_key).hex()})"
