"""The payload store: what it holds, how much of it, and what becomes of what has ended."""

import shutil
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


def test_room_that_is_set_aside_is_not_for_payloads(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10)
    spool.set_aside(3)
    with pytest.raises(SpoolFull):
        spool.put(ONE, bytes(8))
    spool.put(ONE, bytes(7))


def test_a_store_that_is_full_of_payloads_still_takes_the_sum_that_will_make_room(tmp_path: Path) -> None:
    """Else nothing would ever go: payloads are kept until their window ends, and it ends by this sum."""
    spool = Spool(tmp_path, 10)
    spool.put(ONE, bytes(10))
    spool.put_blob(TWO, bytes(1000))
    assert spool.get(TWO) == bytes(1000)
    spool.discard(ONE)
    spool.put(THREE, bytes(10))
    assert (spool.blobs(), spool.payloads()) == ([TWO.hex()], [THREE])


def test_blobs_are_let_go_by_their_names_unfinished_ones_too(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10)
    spool.put_blob(TWO, b"sum")
    (tmp_path / "blobs" / f"{TWO.hex()}.7.7").write_bytes(b"su")
    spool.discard_blobs(spool.blobs())
    spool.discard_blobs([TWO.hex()])
    assert (spool.blobs(), spool.get(TWO)) == ([], None)


def test_what_a_kill_left_half_written_is_swept_and_its_room_is_free(tmp_path: Path) -> None:
    before = Spool(tmp_path, 100)
    before.put(ONE, bytes(10))
    unfinished = tmp_path / ONE.hex()[:2] / f"{ONE.hex()}.7.7"
    unfinished.write_bytes(bytes(80))
    spool = Spool(tmp_path, 100)
    spool.sweep_unfinished()
    assert (unfinished.exists(), spool.payloads(), spool.get(ONE)) == (False, [ONE], bytes(10))
    spool.put(TWO, bytes(90))


def test_what_was_written_before_the_machine_was_started_again_is_not_believed(tmp_path: Path) -> None:
    """A loss of power may have left other bytes of the same length: the device still has them, and is asked."""
    spool = Spool(tmp_path, 100)
    spool.sweep_unfinished("the first boot")
    spool.put(ONE, b"payload")
    spool.sweep_unfinished("the first boot")
    assert spool.get(ONE) == b"payload"
    spool.sweep_unfinished("the second boot")
    assert (spool.get(ONE), spool.payloads()) == (None, [])


def test_nobody_reads_a_payload_of_before_the_machines_start_until_the_gateway_has_swept(tmp_path: Path) -> None:
    """The other services may be up before it, and a payload that a loss of power has torn would be summed."""
    before = Spool(tmp_path, 100, boot="the first boot")
    before.sweep_unfinished()
    before.put(ONE, b"torn")
    before.put_blob(TWO, b"a blob, whose reader hashes it")
    assert Spool(tmp_path, 100, boot="the first boot").get(ONE) == b"torn"
    reader, gateway = (Spool(tmp_path, 100, boot="the second boot") for _ in range(2))
    assert (reader.get(ONE), reader.get(TWO)) == (None, b"a blob, whose reader hashes it")
    gateway.sweep_unfinished()
    assert reader.get(ONE) is None
    gateway.put(ONE, b"whole")
    assert (reader.get(ONE), gateway.get(ONE)) == (b"whole", b"whole")


def test_a_mark_that_was_torn_itself_is_of_another_start(tmp_path: Path) -> None:
    before = Spool(tmp_path, 100, boot="the first boot")
    before.sweep_unfinished()
    before.put(ONE, b"torn")
    (tmp_path / "boot").write_bytes(bytes(14))
    assert Spool(tmp_path, 100, boot="the first boot").get(ONE) is None
    assert [file.name for file in tmp_path.glob("boot*")] == ["boot"]


def test_a_payload_has_its_size_and_one_that_is_not_there_has_none(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 100)
    spool.put(ONE, b"levels")
    spool.put(TWO, b"")
    assert (spool.size(ONE), spool.size(TWO), spool.size(THREE)) == (6, 0, None)


def test_a_store_whose_folder_somebody_removed_is_empty_and_goes_on(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 100)
    spool.put(b"\x01" * 32, bytes(80))
    shutil.rmtree(tmp_path / "spool")
    assert (spool.get(b"\x01" * 32), spool.payloads(), spool.blobs()) == (None, [], [])
    spool.put_blob(b"\x03" * 32, b"sum")
    spool.put(b"\x02" * 32, bytes(90))
    assert (spool.payloads(), spool.blobs()) == ([b"\x02" * 32], [(b"\x03" * 32).hex()])
