"""The way to the ledger's file: durable at every commit, writers one at a time, readers never waiting for them.

SQLite with WAL and `synchronous=FULL`: what is committed is on the disk. A transaction that writes says so when it
begins (BEGIN IMMEDIATE): a deferred one that reads first fails at once when somebody else writes (FACTS 15).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError

from mizzle.errors import Away, Misconfigured
from mizzle.failpoints import failpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Connection, Engine

_RESTORE: Final = "stop the services, put the file aside and restore the newest copy (docs/operations.md)"
_FILE: Final = "file"
_WAIT_S: Final = 20.0
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_MOST_LOG: Final = 64 * 1024 * 1024
"""Whoever reads for long, as a backup does, lets the log grow; when it begins again it is cut back to so many bytes."""

_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"journal_size_limit={_MOST_LOG}")


class Damaged(Misconfigured):
    """The ledger's file is not what it was: no waiting mends it, and nothing that was to be written is to blame."""


def connect(url: str | URL, *, new: bool = False) -> Engine:
    """The engine of the ledger at `url`; its file must be there, unless it is to be a `new` one.

    Raises:
        Misconfigured: `url` names no SQLite file, or there is none, or nothing in it (`Damaged`).
    """
    try:
        place = make_url(url)
    except ArgumentError as error:
        raise Misconfigured(_wanted(url)) from error
    if place.get_backend_name() != "sqlite" or not place.database:
        raise Misconfigured(_wanted(url))
    if not new:
        _refuse_none(Path(place.database))
    if new:
        Path(place.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(place, connect_args={"timeout": _WAIT_S})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "connect", partial(_remember_file, place.database))
    event.listen(engine, "begin", _begin)
    return engine


def _refuse_none(file: Path) -> None:
    """Return if there may be a ledger in the file: nobody makes one where one was lost, and SQLite would."""
    if not file.is_file():
        text = f"there is no ledger at {file}; if there was one, {_RESTORE}"
        raise Misconfigured(f"{text}; else make one: python -m services.ledger create --plan plan.toml")
    if file.stat().st_size == 0:
        raise Damaged(f"{file} is damaged, or no ledger: it is empty; {_RESTORE}")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A view of what is committed now; it stays as it is for as long as it is open.

    Raises:
        Away: the file cannot be read.
        Damaged: the file is, or it is no ledger.
    """
    with answering(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that no other writer runs beside: on the disk when it is left, and undone by an exception.

    Raises:
        Away: the file cannot be written, or another writer held it for 20 s.
        Damaged: the file is, or it is no ledger, or it was taken away since it was opened.
    """
    with answering(engine), engine.connect().execution_options(writes=True) as connection, connection.begin() as tx:
        yield connection
        with failpoint("ledger-commit"):
            tx.commit()


def checkpoint(engine: Engine) -> None:
    """Fold what is committed into the file itself, as far as nobody reads an older state; nothing waits for it.

    SQLite does the same by itself, in the commit that makes its log long.

    Raises:
        Away: the file cannot be written.
        Damaged: the file is, or it is no ledger.
    """
    with answering(engine), closing(engine.raw_connection()) as line, failpoint("ledger-checkpoint"):
        line.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")


@contextmanager
def answering(engine: Engine) -> Iterator[None]:
    """What SQLite says in here, in our words: a disk may come back, a damaged file does not mend itself.

    Raises:
        Away: the file cannot be read or written now.
        Damaged: the file is, or it is no ledger.
    """
    try:
        yield
    except (DatabaseError, sqlite3.DatabaseError) as error:  # the second from what is prepared
        why = error.orig if isinstance(error, DatabaseError) else error
        if isinstance(why, sqlite3.OperationalError):
            text = f"the ledger does not answer: {why}; is its disk full, or its folder gone?"
            raise Away(text) from error
        if (getattr(why, "sqlite_errorcode", None) or 0) & 0xFF in _DAMAGED:  # above it, how it is damaged
            raise Damaged(f"{engine.url.database} is damaged, or no ledger: {why}; {_RESTORE}") from error
        raise


def _prepare(connection: Any, _record: object) -> None:  # noqa: ANN401  # the driver's own connection
    connection.isolation_level = None  # the driver begins nothing by itself
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _remember_file(path: str, _connection: object, record: Any) -> None:  # noqa: ANN401  # SQLAlchemy's own record
    record.info[_FILE] = _file_at(path)


def _refuse_another_file(connection: Connection) -> None:
    """Return if the file that is open is the one that has the ledger's name still.

    Else SQLite would go on writing to a file that nobody finds again, and receipts would promise what is in there.
    """
    path, opened = connection.engine.url.database or "", connection.info.get(_FILE)
    if opened is not None and _file_at(path) != opened:
        raise Damaged(f"{path} is not the file that was opened: it was deleted or replaced meanwhile; {_RESTORE}")


def is_replaced(connection: Connection) -> bool:
    """Whether another file has the name of the one that is open; where none has it, its disk may come back."""
    opened, there = connection.info.get(_FILE), _file_at(connection.engine.url.database or "")
    return None not in {opened, there} and there != opened


def _file_at(path: str) -> tuple[int, int] | None:
    """Which file has this name: its device and its number there."""
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    if writes:
        _refuse_another_file(connection)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _wanted(url: str | URL) -> str:
    return f"the ledger is a SQLite file, sqlite:////path/to/ledger.db; got {str(url)!r}: correct MIZZLE_LEDGER"
