"""The outbox forgets nothing, whatever happens to it."""

import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from mizzle.device.events import Cleared, Full, Kept
from mizzle.device.outbox import MOST_RECEIPTS, Outbox
from mizzle.device.states import Bounds, Newest, Waiting
from mizzle.errors import Away, Misconfigured
from tests.disks import full, small_disk
from tests.mizzle.device import writer

ONE, TWO, THREE = (bytes([number]) * 32 for number in (1, 2, 3))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    with Outbox(path) as opened:
        yield opened


def test_what_is_kept_waits_oldest_first_until_it_is_cleared(outbox: Outbox) -> None:
    for update in (THREE, ONE, TWO):
        assert outbox.keep(update, 7, b"sealed", b"payload") == Kept(update, 13)
    assert outbox.clear(ONE, b"receipt") == Cleared(ONE)
    assert outbox.waiting() == (Waiting(THREE, 13), Waiting(TWO, 13))
    assert (outbox.payload(TWO), outbox.payload(ONE)) == ((b"sealed", b"payload"), None)
    assert outbox.receipts() == [b"receipt"]


def test_everything_survives_the_end_of_the_process(path: Path) -> None:
    with Outbox(path) as first:
        first.keep(ONE, 7, b"sealed", b"payload")
        first.keep(TWO, 8, b"sealed", b"payload")
        first.clear(TWO, b"receipt")
        first.remember_identity(b"identity")
        first.accept(8, 3)
        first.sent(ONE)
    with Outbox(path) as again:
        assert again.waiting() == (Waiting(ONE, 13, sent=True),)
        assert again.payload(ONE) == (b"sealed", b"payload")
        assert (again.receipts(), again.identity, again.newest, again.sends()) == (
            [b"receipt"],
            b"identity",
            Newest(8, 3),
            1,
        )


def test_an_update_kept_twice_waits_once_with_its_first_bytes(outbox: Outbox) -> None:
    outbox.keep(ONE, 7, b"sealed", b"payload")
    outbox.keep(ONE, 7, b"other", b"bytes")
    assert (outbox.waiting(), outbox.payload(ONE)) == ((Waiting(ONE, 13),), (b"sealed", b"payload"))


def test_a_receipt_that_comes_again_and_one_that_nobody_waits_for_change_nothing(outbox: Outbox) -> None:
    outbox.keep(ONE, 7, b"sealed", b"payload")
    outbox.clear(ONE, b"receipt")
    outbox.clear(ONE, b"another")
    outbox.clear(TWO, b"stranger")
    assert outbox.receipts() == [b"receipt"]


@pytest.mark.parametrize("bounds", [Bounds(updates=2), Bounds(size=30)])
def test_a_full_outbox_says_so_and_keeps_what_it_has(path: Path, bounds: Bounds) -> None:
    with Outbox(path, bounds) as outbox:
        outbox.keep(ONE, 7, b"sealed", b"payload")
        outbox.keep(TWO, 8, b"sealed", b"payload")
        full = outbox.keep(THREE, 9, b"sealed", b"payload")
        assert isinstance(full, Full)
        assert (full.window, "2 updates of 26 bytes" in full.why) == (9, True)
        assert [waiting.id for waiting in outbox.waiting()] == [ONE, TWO]
        outbox.clear(ONE, b"receipt")
        assert outbox.keep(THREE, 9, b"sealed", b"payload") == Kept(THREE, 13)


def test_on_a_full_disk_nothing_is_half_written_and_what_waits_can_still_be_read(outbox: Outbox) -> None:
    outbox.keep(ONE, 7, b"sealed", bytes(1000))
    pages = outbox._store.execute("PRAGMA page_count").fetchone()[0]
    outbox._store.execute(f"PRAGMA max_page_count = {pages}")
    full = outbox.keep(TWO, 8, b"sealed", bytes(100_000))
    assert isinstance(full, Full)
    assert "database or disk is full" in full.why
    with pytest.raises(Away, match="disk is full"):
        outbox.remember_identity(bytes(100_000))
    assert (outbox.waiting(), outbox.identity) == ((Waiting(ONE, 1006),), None)
    assert outbox.payload(ONE) == (b"sealed", bytes(1000))
    outbox._store.execute("PRAGMA max_page_count = 1000000")
    assert outbox.keep(TWO, 8, b"sealed", b"payload") == Kept(TWO, 13)


def test_an_outbox_on_a_full_disk_is_away_and_nobody_is_told_to_move_it_away(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 2**20):
        with Outbox(disk / "outbox.db") as outbox:
            assert not outbox.lacks_room(1000)
            outbox.keep(ONE, 7, b"sealed", b"payload")
            with full(disk):
                assert outbox.lacks_room(1000)
        with full(disk), pytest.raises(Away, match="its disk is full; free some space on it"):
            Outbox(disk / "outbox.db")
        with Outbox(disk / "outbox.db") as again:
            assert again.waiting() == (Waiting(ONE, 13),)


def test_numbers_are_reserved_once_in_a_life(path: Path) -> None:
    with Outbox(path) as first:
        assert (first.reserve(256), first.reserve(256)) == (range(256), range(256, 512))
    with Outbox(path) as again:
        assert (again.counter, again.reserve(10)) == (512, range(512, 522))


def test_the_newest_window_and_version_never_fall(outbox: Outbox) -> None:
    outbox.accept(8, 3)
    outbox.accept(9, 2)
    outbox.accept(7, 4)
    assert outbox.newest == Newest(9, 4)


def test_each_time_an_update_is_sent_is_a_row_of_its_own(outbox: Outbox, path: Path) -> None:
    outbox.sent(ONE)
    outbox.sent(TWO)
    outbox.sent(ONE)
    with sqlite3.connect(path) as independent:
        rows = independent.execute("SELECT id, count(*) FROM sent WHERE at > 0 GROUP BY id ORDER BY id").fetchall()
    independent.close()
    assert rows == [(ONE, 2), (TWO, 1)]


def test_a_receipt_lies_in_the_table_that_others_read(outbox: Outbox, path: Path) -> None:
    outbox.keep(ONE, 7, b"sealed", b"payload")
    outbox.clear(ONE, b"receipt")
    with sqlite3.connect(path) as independent:
        rows = independent.execute("SELECT id, window, sealed FROM receipts").fetchall()
    independent.close()
    assert rows == [(ONE, 7, b"receipt")]


def test_only_the_newest_receipts_are_kept(outbox: Outbox) -> None:
    outbox._store.execute(
        "INSERT INTO receipts (id, window, at, sealed) "
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "SELECT randomblob(32), i, 0, '' FROM n",
        (MOST_RECEIPTS,),
    )
    outbox.keep(ONE, 7, b"sealed", b"payload")
    outbox.clear(ONE, b"receipt")
    kept = outbox.receipts()
    assert (len(kept), kept[-1]) == (MOST_RECEIPTS, b"receipt")
    assert outbox._store.execute("SELECT min(window) FROM receipts").fetchone() == (2,)


def test_every_commit_reaches_the_disk_before_it_returns(outbox: Outbox) -> None:
    journal = outbox._store.execute("PRAGMA journal_mode").fetchone()[0]
    synchronous = outbox._store.execute("PRAGMA synchronous").fetchone()[0]
    assert (journal, synchronous) == ("wal", 2)


def test_a_file_that_is_no_outbox_is_refused_by_name(path: Path) -> None:
    path.write_bytes(b"something else" * 100)
    with pytest.raises(Misconfigured, match=r"outbox\.db cannot be opened"):
        Outbox(path)


def test_killed_at_any_moment_it_has_the_old_state_or_the_new(path: Path) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    state = Seen((), (), 0)
    for life in range(8):
        *done, doing = killed_after(path, life * 10_000, chance.randrange(1, 200))
        for deed in done:
            state = state.after(deed)
        found = seen(path)
        assert found in {state, state.after(doing)}, f"seed {seed}, life {life}, {doing}"
        state = found


class Seen(NamedTuple):
    """What an outbox holds: the numbers of what waits and of the receipts, in order, and its counter."""

    waiting: tuple[int, ...]
    receipts: tuple[int, ...]
    counter: int

    def after(self, deed: str) -> "Seen":
        match deed.split():
            case ["keep", number]:
                return self._replace(waiting=(*self.waiting, int(number)))
            case ["clear", number]:
                left = tuple(one for one in self.waiting if one != int(number))
                return self._replace(waiting=left, receipts=(*self.receipts, int(number)))
            case ["reserve", count]:
                return self._replace(counter=self.counter + int(count))
            case _:
                return self


def seen(path: Path) -> Seen:
    with Outbox(path) as outbox:
        assert outbox._store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = outbox._store.execute("SELECT window, sealed, payload FROM waiting ORDER BY number").fetchall()
        assert all(row == (row[0], b"sealed", writer.payload_of(row[0])) for row in rows)
        receipts = tuple(int(receipt.split()[1]) for receipt in outbox.receipts())
        return Seen(tuple(row[0] for row in rows), receipts, outbox.counter)


def killed_after(path: Path, first: int, lines: int) -> list[str]:
    """What a writer did until it was killed, some time after its so-many-th line; the last of it perhaps only begun."""
    argv = [sys.executable, "-m", "tests.mizzle.device.writer", str(path), str(first)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        said += process.stdout.readlines()
    deeds = [line.strip() for line in said if line.strip() != "done"]
    return [*deeds, ""] if said[-1].strip() == "done" else deeds


def test_all_that_was_ever_kept_waits_or_was_answered(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db") as outbox:
        for update in (b"a" * 32, b"b" * 32, b"a" * 32, b"c" * 32):
            outbox.keep(update, 1, b"sealed", b"payload")
        outbox.clear(b"a" * 32, b"receipt")
        outbox.clear(b"a" * 32, b"receipt")
    assert _kept(tmp_path) == 3


def test_an_outbox_that_did_not_count_begins_with_what_it_has(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db") as outbox:
        outbox.keep(b"a" * 32, 1, b"sealed", b"payload")
        outbox.keep(b"b" * 32, 1, b"sealed", b"payload")
        outbox.clear(b"a" * 32, b"receipt")
    with closing(sqlite3.connect(tmp_path / "outbox.db", isolation_level=None)) as store:
        store.execute("DELETE FROM memory WHERE name = 'kept'")
    with Outbox(tmp_path / "outbox.db") as outbox:
        outbox.keep(b"c" * 32, 1, b"sealed", b"payload")
    assert _kept(tmp_path) == 3


def _kept(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "outbox.db")) as store:
        return int(store.execute("SELECT value FROM memory WHERE name = 'kept'").fetchone()[0])
