"""The ledger's file: durable, one writer at a time, and readers never wait."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, column, insert, table, text
from sqlalchemy.exc import IntegrityError

from mizzle.errors import Away, Misconfigured
from services.ledger.engine import Damaged, checkpoint, connect, reading, writing
from services.ledger.ledger import Ledger


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = connect(f"sqlite:///{tmp_path / 'ledger.db'}", new=True)
    with writing(made) as tx:
        tx.execute(text("CREATE TABLE t (x)"))
    return made


def xs(engine: Engine) -> list[int]:
    with reading(engine) as tx:
        return list(tx.execute(text("SELECT x FROM t")).scalars())


@pytest.mark.parametrize(
    ("pragma", "wanted"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("journal_size_limit", 2**26)],
)
def test_every_connection_is_durable(engine: Engine, pragma: str, wanted: object) -> None:
    with reading(engine) as tx:
        assert tx.execute(text(f"PRAGMA {pragma}")).scalar() == wanted


def test_a_transaction_that_fails_has_not_happened(engine: Engine) -> None:
    with pytest.raises(Away):
        write_twice(engine, "gone")
    assert xs(engine) == []
    write_twice(engine, "t")
    assert xs(engine) == [1, 1]


def write_twice(engine: Engine, second_table: str) -> None:
    with writing(engine) as tx:
        tx.execute(text("INSERT INTO t VALUES (1)"))
        tx.execute(insert(table(second_table, column("x"))).values(x=1))


def test_a_reader_sees_what_was_committed_and_does_not_wait(engine: Engine) -> None:
    with writing(engine) as tx:
        tx.execute(text("INSERT INTO t VALUES (1)"))
        assert xs(engine) == []
    assert xs(engine) == [1]


def test_a_checkpoint_folds_what_is_committed_into_the_file(engine: Engine, tmp_path: Path) -> None:
    def in_the_file_alone() -> list[tuple[int]]:
        alone = Path(shutil.copy(tmp_path / "ledger.db", tmp_path / "alone.db"))
        with closing(sqlite3.connect(alone)) as line:
            return line.execute("SELECT x FROM t").fetchall()

    checkpoint(engine)
    write_twice(engine, "t")
    assert in_the_file_alone() == []
    checkpoint(engine)
    assert in_the_file_alone() == [(1,), (1,)]


def test_a_checkpoint_waits_for_no_reader(engine: Engine) -> None:
    with reading(engine) as tx:
        assert tx.execute(text("SELECT count(*) FROM t")).scalar() == 0
        write_twice(engine, "t")
        checkpoint(engine)
        assert tx.execute(text("SELECT count(*) FROM t")).scalar() == 0
    assert xs(engine) == [1, 1]


def test_a_view_stays_as_it_was(engine: Engine) -> None:
    with reading(engine) as tx:
        assert tx.execute(text("SELECT count(*) FROM t")).scalar() == 0
        with writing(engine) as other:
            other.execute(text("INSERT INTO t VALUES (1)"))
        assert tx.execute(text("SELECT count(*) FROM t")).scalar() == 0


def test_a_log_that_grew_under_a_long_reader_is_cut_back_when_he_is_gone(engine: Engine, tmp_path: Path) -> None:
    log = tmp_path / "ledger.db-wal"
    with reading(engine) as tx:
        assert tx.execute(text("SELECT count(*) FROM t")).scalar() == 0
        for _ in range(10):
            write(engine, 8 * 2**20)
        grown = log.stat().st_size
    assert grown > 80 * 2**20
    for _ in range(3):  # what is written next begins the log again
        write(engine, 1)
    assert log.stat().st_size <= 2**26


def write(engine: Engine, size: int) -> None:
    with writing(engine) as tx:
        tx.execute(text("INSERT INTO t VALUES (zeroblob(:size))"), {"size": size})


def test_a_writer_locks_before_it_reads(engine: Engine, tmp_path: Path) -> None:
    """A deferred transaction would read first, and fail when it writes after somebody else did."""
    other = sqlite3.connect(tmp_path / "ledger.db", timeout=0, isolation_level=None)
    with writing(engine), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.close()


def test_a_file_that_does_not_answer_is_away(engine: Engine) -> None:
    with pytest.raises(Away), reading(engine) as tx:
        tx.execute(text("SELECT * FROM gone"))


@pytest.mark.parametrize("damage", [b"x\n", b"SQLite format 3\0" + b"\xff" * 4080, b"\0" * 8192])
def test_a_file_that_is_damaged_or_no_ledger_is_wrong_and_not_away(tmp_path: Path, damage: bytes) -> None:
    """To wait for it would be to wait for ever."""
    file = tmp_path / "bad.db"
    file.write_bytes(damage)
    for look in (reading, writing):
        with pytest.raises(Damaged, match=r"bad\.db.*restore the newest copy"), look(connect(f"sqlite:///{file}")):
            pass
    with pytest.raises(Damaged, match="restore the newest copy"):
        Ledger.open(f"sqlite:///{file}", "pumps")


def test_a_page_that_is_damaged_later_is_said_when_it_is_read(engine: Engine, tmp_path: Path) -> None:
    with writing(engine) as tx:
        tx.execute(text("INSERT INTO t VALUES (1)"))
    engine.dispose()  # the last one that leaves moves the log into the file
    file = tmp_path / "ledger.db"
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(Damaged, match="damaged"):
        xs(engine)


def test_a_row_that_the_tables_refuse_is_a_fault_of_ours_and_says_so(engine: Engine) -> None:
    with writing(engine) as tx:
        tx.execute(text("CREATE TABLE one (x UNIQUE)"))
    with pytest.raises(IntegrityError), writing(engine) as tx:
        tx.execute(text("INSERT INTO one VALUES (1), (1)"))


def test_an_empty_file_is_no_ledger_and_is_left_as_it_is(tmp_path: Path) -> None:
    """SQLite would make a new data base of it, and `migrate` tables: a federation that has forgotten everything."""
    file = tmp_path / "ledger.db"
    file.touch()
    with pytest.raises(Damaged, match=r"it is empty; .*restore the newest copy"):
        connect(f"sqlite:///{file}")
    assert [(path, path.stat().st_size) for path in tmp_path.iterdir()] == [(file, 0)]


def test_where_there_is_no_ledger_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"there is no ledger at .*restore the newest copy.*else make one"):
        connect(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("with_another", [False, True])
def test_nothing_is_written_to_a_file_that_nobody_finds_again(
    engine: Engine, tmp_path: Path, *, with_another: bool
) -> None:
    """SQLite would write on to what is open, and a receipt would promise what the next start does not know."""
    file = tmp_path / "ledger.db"
    if with_another:
        (tmp_path / "another.db").write_bytes(file.read_bytes())
        (tmp_path / "another.db").replace(file)
    else:
        file.unlink()
    with pytest.raises(Damaged, match=r"deleted or replaced meanwhile; .*restore the newest copy"):
        write(engine, 1)


@pytest.mark.parametrize("url", ["", "postgresql://host/ledger", "sqlite://", "ledger.db"])
def test_what_names_no_sqlite_file_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="MIZZLE_LEDGER"):
        connect(url)


def test_a_ledger_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"services\.ledger create"):
        connect(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert list(tmp_path.iterdir()) == []
