"""The payload store: what it holds, how much of it, and what becomes of what has ended."""

from pathlib import Path

import pytest

from services.runtime.payloads import Spool, SpoolFull

ONE, TWO, THREE = (bytes([number]) * 32 for number in (1, 2, 3))


def test_what_was_put_is_there_for_every_process_of_the_host(tmp_path: Path) -> None:
    Spool(tmp_path, 100).put(ONE, b"levels")
    assert Spool(tmp_path, 100).get(ONE) == b"levels"
    assert Spool(tmp_path, 100).get(TWO) is None


def test_the_same_key_again_replaces_the_bytes(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 100)
    spool.put(ONE, b"first")
    spool.put(ONE, b"second")
    assert spool.get(ONE) == b"second"


def test_what_was_discarded_is_gone_and_discarding_it_again_does_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 100)
    spool.put(ONE, b"levels")
    spool.discard(ONE)
    spool.discard(ONE)
    assert spool.get(ONE) is None


def test_a_store_that_keeps_moves_what_has_ended_aside_and_still_finds_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10, keep=True)
    spool.put(ONE, bytes(10))
    spool.discard(ONE)
    spool.put(TWO, bytes(10))
    assert (spool.get(ONE), spool.get(TWO)) == (bytes(10), bytes(10))


def test_a_full_store_takes_nothing_and_says_how_full_it_is(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10)
    spool.put(ONE, bytes(6))
    with pytest.raises(SpoolFull, match="6 of 10 bytes"):
        spool.put(TWO, bytes(5))
    assert spool.get(TWO) is None
    spool.put(THREE, bytes(4))


def test_room_that_another_process_made_is_found(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10)
    spool.put(ONE, bytes(10))
    Spool(tmp_path, 10).discard(ONE)
    spool.put(TWO, bytes(10))
    assert spool.get(TWO) == bytes(10)


def test_putting_the_same_again_and_again_does_not_fill_the_store(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10)
    for _ in range(5):
        spool.put(ONE, bytes(6))
    spool.put(TWO, bytes(4))


def test_what_was_there_before_counts(tmp_path: Path) -> None:
    Spool(tmp_path, 10).put(ONE, bytes(8))
    with pytest.raises(SpoolFull):
        Spool(tmp_path, 10).put(TWO, bytes(3))
