"""A ledger is copied while it is written, and a copy that is put back is known to be older than the world."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from mizzle.errors import Fenced, Misconfigured
from services.ledger import audit, restorations
from services.ledger.backups import Restored, _to_ourselves, back_up, restore
from services.ledger.engine import Damaged, connect, reading, writing
from services.ledger.ledger import WRITER, Ledger
from services.ledger.restorations import RESTORED, Seen
from services.ledger.tables import AUDIT, UPDATES
from tests.services.federations import Federation, federation

_READER = """
import sqlite3, sys
store = sqlite3.connect(sys.argv[1])
store.execute("PRAGMA journal_mode = WAL")
store.execute("SELECT count(*) FROM audit").fetchall()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def ours(tmp_path: Path) -> Federation:
    return federation(tmp_path)


def url(ours: Federation) -> str:
    return f"sqlite:///{ours.folder / 'ledger.db'}"


def stop(ours: Federation) -> None:
    """No service has the ledger open any more."""
    ours.ledger.engine.dispose()
    ours.founded.engine.dispose()


def marked(ours: Federation) -> restorations.Restoration | None:
    with reading(ours.ledger.engine) as tx:
        return restorations.newest(tx, "pumps")


@contextmanager
def tampered(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file)) as store, store:
        yield store


def test_a_backup_is_the_ledger_as_it_was_in_one_file_that_its_owner_alone_reads(
    ours: Federation, tmp_path: Path
) -> None:
    ours.run()
    file = tmp_path / "copy.db"
    head = back_up(url(ours), file)
    ours.run(after=1)
    assert [path.name for path in tmp_path.glob("copy.db*")] == ["copy.db"]
    assert file.stat().st_mode & 0o777 == 0o600
    copy = connect(f"sqlite:///{file}")
    with reading(copy) as tx:
        assert audit.head(tx) == head
        assert tx.execute(text("SELECT count(*) FROM updates")).scalar() == 3
    copy.dispose()


def test_a_backup_is_made_beside_a_transaction_that_is_open(ours: Federation, tmp_path: Path) -> None:
    with writing(ours.ledger.engine) as tx:
        tx.execute(text("DELETE FROM budgets"))
        back_up(url(ours), tmp_path / "copy.db")
    with tampered(tmp_path / "copy.db") as store:
        assert store.execute("SELECT count(*) FROM budgets").fetchone() == (4,)


def test_a_backup_replaces_nothing(ours: Federation, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(Misconfigured, match="choose another name"):
        back_up(url(ours), tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"


def test_a_ledger_whose_chain_is_broken_gives_no_backup(ours: Federation, tmp_path: Path) -> None:
    with tampered(ours.folder / "ledger.db") as store:
        store.execute("UPDATE audit SET at = at + 1 WHERE seq = 1")
    with pytest.raises(Exception, match="breaks at row 1"):
        back_up(url(ours), tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_a_ledger_that_a_service_has_open_is_not_replaced_whether_it_reads_or_not(
    ours: Federation, tmp_path: Path
) -> None:
    back_up(url(ours), tmp_path / "copy.db")
    with pytest.raises(Misconfigured, match=r"is in use.*stop the services"):
        restore(url(ours), tmp_path / "copy.db")
    with reading(ours.ledger.engine), pytest.raises(Misconfigured, match=r"is in use.*stop the services"):
        restore(url(ours), tmp_path / "copy.db")
    assert marked(ours) is None
    assert list(tmp_path.glob("*.restoring*")) == []


def test_nobody_opens_a_ledger_while_it_is_replaced(ours: Federation) -> None:
    """Whoever tries waits, and is told that the ledger does not answer."""
    file = ours.folder / "ledger.db"
    stop(ours)
    other = sqlite3.connect(file, timeout=0)
    with _to_ourselves(file), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("SELECT count(*) FROM audit")
    other.close()


def test_what_is_restored_is_marked_with_all_that_the_replaced_ledger_knew(ours: Federation, tmp_path: Path) -> None:
    ours.run()
    back_up(url(ours), tmp_path / "copy.db")
    ours.run(after=1)
    ours.open(after=2)
    stop(ours)
    restored = restore(url(ours), tmp_path / "copy.db")
    mark = marked(ours)
    assert mark is not None
    assert (mark.holds, mark.version, mark.window, mark.closed_at) == (True, 2, 3, None)
    assert [row["action"] for row in ours.rows(AUDIT)][-1] == RESTORED
    assert len(ours.rows(UPDATES)) == 3
    assert restored.replaced is not None
    with tampered(restored.replaced) as store:
        assert store.execute("SELECT count(*) FROM updates").fetchone() == (6,)


def put_back(ours: Federation, file: Path) -> Restored:
    """Put the backup back, whatever lies there under this second's name."""
    stop(ours)
    for earlier in ours.folder.glob("ledger.db.*Z"):
        earlier.unlink()
    return restore(url(ours), file)


def resume(ours: Federation, version: int, window: int) -> int:
    with writing(ours.ledger.engine) as tx:
        return restorations.resume(tx, "pumps", Seen(version, window), "I looked", 2)


def test_restoring_a_second_time_forgets_nothing_that_was_known_of_the_world(ours: Federation, tmp_path: Path) -> None:
    """Neither what the first ledger knew, nor what a person has said since, before there was any release."""
    back_up(url(ours), tmp_path / "copy.db")
    ours.run()
    ours.run(after=1)
    put_back(ours, tmp_path / "copy.db")
    put_back(ours, tmp_path / "copy.db")
    mark = marked(ours)
    assert mark is not None
    assert (mark.version, mark.window) == (2, 2)
    with pytest.raises(Misconfigured, match="release 2 and window 2 have been seen"):
        resume(ours, 0, 0)
    resume(ours, 7, 9)
    put_back(ours, tmp_path / "copy.db")
    again = marked(ours)
    assert again is not None
    assert (again.number, again.version, again.window) == (1, 7, 9)


def test_a_version_that_a_ledger_went_on_as_is_not_given_again_once_a_window_had_it(
    ours: Federation, tmp_path: Path
) -> None:
    """Devices have trained from it, and the next backup may have another model."""
    back_up(url(ours), tmp_path / "copy.db")
    put_back(ours, tmp_path / "copy.db")
    resume(ours, 2, 4)
    stop(ours)
    ours.begin_again()
    assert ours.open(after=4).base.version == 3
    put_back(ours, tmp_path / "copy.db")
    mark = marked(ours)
    assert mark is not None
    assert (mark.version, mark.window) == (3, 5)


def test_a_ledger_of_older_tables_tells_how_far_it_came(ours: Federation, tmp_path: Path) -> None:
    ours.run()
    back_up(url(ours), tmp_path / "copy.db")
    stop(ours)
    with tampered(ours.folder / "ledger.db") as store:
        store.execute("DROP TABLE restorations")
    with _to_ourselves(ours.folder / "ledger.db") as seen:
        assert seen == {"pumps": Seen(1, 1)}


def test_a_ledger_that_went_on_and_is_marked_again_goes_on_after_that(ours: Federation) -> None:
    """What was lost the first time was charged then, and no version of that time is given again."""
    act = audit.Act("pumps", 1, "operator", RESTORED, "pumps", {"why": "a test"})
    with writing(ours.ledger.engine) as tx:
        restorations.mark(tx, "pumps", act)
    assert resume(ours, 7, 9) > 0
    with writing(ours.ledger.engine) as tx:
        restorations.mark(tx, "pumps", act)
    mark = marked(ours)
    assert mark is not None
    assert (mark.number, mark.version, mark.window) == (2, 8, 9)
    assert resume(ours, 8, 9) == 0


def test_a_restored_ledger_has_another_name_and_epochs_that_nobody_has_come_to(
    ours: Federation, tmp_path: Path
) -> None:
    back_up(url(ours), tmp_path / "copy.db")
    newer = [ours.ledger.issue_epoch(WRITER) for _ in range(5)][-1]
    stop(ours)
    restore(url(ours), tmp_path / "copy.db")
    again = Ledger.open(url(ours), "pumps")
    assert again.name != ours.ledger.name
    with pytest.raises(Fenced), again.write(newer):
        pass
    assert again.issue_epoch(WRITER) > newer


def test_a_ledger_that_is_gone_or_damaged_is_restored_too(ours: Federation, tmp_path: Path) -> None:
    back_up(url(ours), tmp_path / "copy.db")
    stop(ours)
    (ours.folder / "ledger.db").write_bytes(b"\0" * 4096)
    restored = restore(url(ours), tmp_path / "copy.db")
    assert restored.replaced is not None
    assert restored.replaced.read_bytes() == b"\0" * 4096
    (ours.folder / "ledger.db").unlink()
    assert restore(url(ours), tmp_path / "copy.db").replaced is None
    assert (mark := marked(ours)) is not None
    assert mark.holds


@pytest.mark.parametrize("content", [b"\0" * 4096, b"", None])
def test_what_is_no_backup_is_not_put_anywhere(ours: Federation, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "copy.db"
    if content is not None:
        file.write_bytes(content)
    stop(ours)
    with pytest.raises((Misconfigured, Damaged)):
        restore(url(ours), file)
    assert marked(ours) is None


def test_a_backup_that_was_altered_is_not_put_back(ours: Federation, tmp_path: Path) -> None:
    back_up(url(ours), tmp_path / "copy.db")
    with tampered(tmp_path / "copy.db") as store:
        store.execute("UPDATE audit SET actor = 'nobody' WHERE seq = 2")
    stop(ours)
    with pytest.raises(Exception, match="breaks at row 2"):
        restore(url(ours), tmp_path / "copy.db")
    assert marked(ours) is None


@pytest.mark.parametrize("name", ["ledger.db", "linked.db", "ledger.db.restoring"])
def test_a_ledger_is_not_restored_onto_itself(ours: Federation, name: str) -> None:
    """Under no name of it, and not from the file that the copy is made in."""
    ledger, file = ours.folder / "ledger.db", ours.folder / name
    stop(ours)
    if name == "linked.db":
        file.symlink_to(ledger)
    if name.endswith("restoring"):
        shutil.copy(ledger, file)
    with pytest.raises(Misconfigured, match="name a backup, or copy the file elsewhere"):
        restore(url(ours), file)
    assert marked(ours) is None
    assert file.exists()


def test_a_backup_that_somebody_holds_is_not_waited_for_for_ever(ours: Federation, tmp_path: Path) -> None:
    back_up(url(ours), tmp_path / "copy.db")
    stop(ours)
    with closing(sqlite3.connect(tmp_path / "copy.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Misconfigured, match=r"copy\.db cannot be read: .*locked.*nobody writes it"):
            restore(url(ours), tmp_path / "copy.db")
    assert marked(ours) is None
    assert list(tmp_path.glob("*.restoring*")) == []


@pytest.mark.parametrize("name", ["b#1.db", "b?1.db", "b%31.db", "b 1.db", "b?mode=rwc&x=.db"])
def test_a_backup_is_the_file_of_that_name_whatever_characters_it_has(
    ours: Federation, tmp_path: Path, name: str
) -> None:
    (tmp_path / "to").mkdir()
    ours.run()
    head = back_up(url(ours), tmp_path / "to" / name)
    assert [path.name for path in (tmp_path / "to").iterdir()] == [name]
    for decoy in ("b", "b1.db"):
        (tmp_path / "to" / decoy).write_text("another file")
    stop(ours)
    assert restore(url(ours), tmp_path / "to" / name).head.seq == head.seq + 1


def test_a_damaged_ledger_that_somebody_has_open_is_not_replaced(ours: Federation, tmp_path: Path) -> None:
    """SQLite does not open it any more; that another process has it, its locks still say."""
    file = ours.folder / "ledger.db"
    back_up(url(ours), tmp_path / "copy.db")
    stop(ours)
    with subprocess.Popen(
        [sys.executable, "-c", _READER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"open\n"
        with file.open("r+b") as store:
            store.write(b"\0" * 4096)
        with pytest.raises(Misconfigured, match=r"is damaged, and in use.*stop the services"):
            restore(url(ours), tmp_path / "copy.db")
        assert file.read_bytes()[:4096] == b"\0" * 4096
        reader.communicate()
    assert restore(url(ours), tmp_path / "copy.db").replaced is not None


def test_a_ledger_that_is_marked_already_learns_what_more_was_seen(ours: Federation) -> None:
    act = audit.Act("pumps", 1, "operator", RESTORED, "pumps", {"why": "a test"})
    for seen in (Seen(4, 5), Seen(3, 9)):
        with writing(ours.ledger.engine) as tx:
            restorations.mark(tx, "pumps", act, seen)
    mark = marked(ours)
    assert mark is not None
    assert (mark.number, mark.version, mark.window) == (1, 4, 9)
