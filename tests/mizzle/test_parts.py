"""An update travels in parts that no broker finds too long, and comes together again from them."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mizzle.envelope import Key, Purpose, seal, unseal
from mizzle.errors import Unreadable
from mizzle.messages import BlobRef, Run, Update
from mizzle.parts import ALL, CHUNK, First, Later, count, lacking, named_in, read, runs, split

MOST_MESSAGE = 128 * 1000
"""What AWS IoT Core takes (FACTS 12)."""


def sealed(device: str = "pump-7") -> bytes:
    update = Update(
        federation="watch-har",
        device=device,
        window=7,
        base=bytes(32),
        plan=bytes(32),
        nonce=bytes(16),
        payload=BlobRef(digest=bytes(32), size=1),
    )
    return seal(update, Purpose.UPDATE, Key(b"k" * 32), epoch=1, counter=2)


SEALED = sealed()
SIZES = st.integers(0, 3 * CHUNK + 10)


@given(SIZES)
@example(0)
@example(CHUNK)
@example(CHUNK + 1)
@example(2 * CHUNK)
def test_the_chunks_are_the_payload(size: int) -> None:
    payload = bytes(i % 251 for i in range(256)) * (size // 256 + 1)
    parts = [read(body) for body in split(SEALED, payload[:size])]
    assert b"".join(part.chunk for part in parts) == payload[:size]
    assert len(parts) == count(size)


@given(SIZES)
def test_every_part_after_the_first_names_the_update_and_its_place(size: int) -> None:
    first, *later = (read(body) for body in split(SEALED, bytes(size)))
    assert isinstance(first, First)
    assert (first.sealed, first.envelope.id) == (SEALED, unseal(SEALED).id)
    places = [(part.index, part.id) for part in later if isinstance(part, Later)]
    assert places == [(index, unseal(SEALED).id) for index in range(1, count(size))]


def test_no_part_is_longer_than_any_broker_takes() -> None:
    longest = sealed("d" * 64)
    assert max(len(part) for part in split(longest, bytes(5 * CHUNK))) < MOST_MESSAGE


def test_a_resend_is_the_same_bytes() -> None:
    payload = bytes(range(256)) * 1000
    assert list(split(SEALED, payload)) == list(split(SEALED, payload))


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda body: b"mc" + body))
def test_other_bytes_are_refused_or_a_part_by_their_look(body: bytes) -> None:
    """A later part has no signature: it is believed once the whole payload has the digest that was signed."""
    try:
        part = read(body)
    except Unreadable:
        return
    assert isinstance(part, Later)
    assert body == b"mc" + part.index.to_bytes(2, "big") + part.id + part.chunk


def test_a_chunk_longer_than_allowed_is_refused() -> None:
    later = b"mc" + bytes(34)
    assert read(later + bytes(CHUNK)).chunk == bytes(CHUNK)
    for front in (later, SEALED):
        with pytest.raises(Unreadable, match=f"at most {CHUNK} bytes"):
            read(front + bytes(CHUNK + 1))


# Which parts


WHICH = st.integers(0, 2**200 - 1)


@given(WHICH)
@example(0)
@example(2**200 - 1)
def test_runs_name_the_parts_that_they_were_made_of_and_never_touch(which: int) -> None:
    found = runs(which, most=1000)
    assert named_in(found) == which
    assert all(one.first + one.count < other.first for one, other in itertools.pairwise(found))


@given(WHICH, st.integers(1, 5))
def test_a_list_that_is_cut_names_the_first_of_them(which: int, most: int) -> None:
    assert runs(which, most) == runs(which, 1000)[:most]


@given(st.integers(0, 5 * CHUNK), st.sets(st.integers(0, 10)))
def test_what_is_lacking_and_what_is_there_are_all_parts_of_it(size: int, there: set[int]) -> None:
    missing = {index for run in runs(lacking(size, there)) for index in range(run.first, run.first + run.count)}
    assert missing == set(range(count(size))) - there


@given(SIZES, st.integers(0, 15))
def test_the_wanted_parts_are_those_of_the_whole(size: int, wanted: int) -> None:
    payload = bytes(size)
    whole = list(split(SEALED, payload))
    assert list(split(SEALED, payload, wanted)) == [part for index, part in enumerate(whole) if wanted >> index & 1]
    assert list(split(SEALED, payload, ALL)) == whole


def test_a_run_of_one_part_is_a_run() -> None:
    assert runs(0b1011) == (Run(first=0, count=2), Run(first=3, count=1))
