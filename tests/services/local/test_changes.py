import select
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from services.local.changes import Changes


@pytest.fixture
def changes(tmp_path: Path) -> Iterator[Changes]:
    with Changes([tmp_path]) as watching:
        yield watching


def is_told(changes: Changes, within_s: float = 5.0) -> bool:
    return bool(select.select([changes.news], [], [], within_s)[0])


def test_what_is_written_is_told_until_it_is_forgotten(changes: Changes, tmp_path: Path) -> None:
    assert not is_told(changes, 0)
    (tmp_path / "file").write_text("news")
    assert is_told(changes)
    changes.forget()
    assert not is_told(changes, 0)


def test_a_commit_of_sqlite_is_told(changes: Changes, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "outbox.db", isolation_level=None)) as store:
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("CREATE TABLE waiting (id)")
        changes.forget()
        store.execute("INSERT INTO waiting VALUES (1)")
        assert is_told(changes)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"), Changes([tmp_path / "nowhere"]):
        pass
