"""Copies of a ledger: made while it is written, proven before they count as one, and put back in its place.

A backup is one SQLite file, whole and consistent as of one instant. What is put back is older than what it replaces,
as a rule, so it is marked (`restorations.py`) in a copy beside the ledger before that copy takes the ledger's name. Cut
off at any moment, either command leaves what was there, or has done all of it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import URL, select

from mizzle.errors import Away, Misconfigured
from services.ledger import audit, federations, restorations
from services.ledger.engine import Damaged, answering, connect, reading, writing
from services.ledger.ledger import refuse_other_tables
from services.ledger.migrate import migrate
from services.ledger.private import sync
from services.ledger.restorations import RESTORED, Seen
from services.ledger.tables import FEDERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy import Connection, Engine

_WAIT_S: Final = 2.0
_HELD: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_LOCKS_AT: Final = 0x40000000
_LOCKS_SIZE: Final = 512
"""The bytes of a file that SQLite locks [sqlite.org/lockingv3.html, os.h: PENDING_BYTE, RESERVED_BYTE, SHARED_SIZE]."""
_FAR: Final = """
SELECT (SELECT coalesce(max(version), 0) FROM releases WHERE federation = :of),
       (SELECT coalesce(max(number), 0) FROM windows WHERE federation = :of)
"""
_FAR_BY_RESTORATIONS: Final = """
SELECT max(coalesce(max(version), 0), (
           SELECT coalesce(max(base_version), 0) FROM windows WHERE federation = :of
           AND number NOT IN (SELECT window FROM restorations WHERE federation = :of)
       )), coalesce(max(window), 0)
FROM restorations WHERE federation = :of
"""
"""What was seen of the world that it did not know itself, and the version as which it went on, once a window had it.

The window that was skipped is nobody's: its base went nowhere.
"""
_STOP: Final = "stop the services and try again (docs/operations.md)"


@dataclass(frozen=True)
class Restored:
    """A ledger that was put back: the end of its audit chain, and where the one that it replaced lies, if one was."""

    head: audit.Head
    replaced: Path | None


def back_up(url: str, file: Path) -> audit.Head:
    """Copy the ledger at `url`, which may be in use, to the new `file`; the end of its audit chain is given.

    Raises:
        Misconfigured: there is no ledger, the file exists or cannot be written, or the copy is not sound.
        Away: the ledger does not answer.
    """
    if file.exists():
        raise Misconfigured(f"{file} is there already, and a backup replaces nothing: choose another name")
    engine = connect(url)
    refuse_other_tables(engine)
    draft = file.with_name(f"{file.name}.new")
    try:
        with answering(engine), closing(_source(Path(engine.url.database or ""))) as source:
            _copy(source, draft)
        head = _proven(draft)
        os.link(draft, file)  # unlike a rename, it never replaces what came there meanwhile
    except FileExistsError as error:
        raise Misconfigured(f"{file} is there already, and a backup replaces nothing: choose another name") from error
    finally:
        engine.dispose()
        draft.unlink(missing_ok=True)
    sync(file.parent)
    return head


def restore(url: str, file: Path) -> Restored:
    """Put the backup in `file` in the place of the ledger at `url`, marked as restored; no service may be running.

    It gets a new name, so that nothing in Redis is taken for its own.

    Raises:
        Misconfigured: the file is no sound backup, or cannot be read, or the ledger is in use; nothing was changed.
    """
    if not file.is_file():
        raise Misconfigured(f"there is no backup at {file}")
    ledger = Path(connect(url, new=True).url.database or "")
    draft = ledger.with_name(f"{ledger.name}.restoring")
    _refuse_our_own(file, ledger, draft)
    with _to_ourselves(ledger) as seen:
        try:
            with closing(_source(file)) as source:
                _copy(source, draft)
            _mark(draft, file, seen)
            head = _proven(draft)
            replaced = _aside(ledger)
            draft.replace(ledger)
        except sqlite3.OperationalError as error:
            raise Misconfigured(f"{file} cannot be read: {error}; make sure that nobody writes it") from error
        except sqlite3.DatabaseError as error:
            raise Damaged(f"{file} is damaged, or no backup: {error}; take another one") from error
        finally:
            draft.unlink(missing_ok=True)
        sync(ledger.parent)
    return Restored(head, replaced)


def _refuse_our_own(file: Path, ledger: Path, draft: Path) -> None:
    """Return if the backup is another file than those that are written, under whatever name."""
    if any(ours.exists() and file.samefile(ours) for ours in (ledger, draft)):
        text = f"{file} is the ledger that is to be replaced, or what an earlier restore was making of it"
        raise Misconfigured(f"{text}: name a backup, or copy the file elsewhere and name the copy")


@contextmanager
def _to_ourselves(ledger: Path) -> Iterator[Mapping[str, Seen]]:
    """Hold the ledger's file so that nobody opens it meanwhile, and say how far each of its federations has come."""
    if not ledger.exists():
        yield {}
        return
    with closing(sqlite3.connect(ledger, timeout=_WAIT_S, isolation_level=None)) as store:
        seen = _held(store, ledger)
        if seen is not None:
            yield seen
            return
    with _locked(ledger):
        yield {}


def _held(store: sqlite3.Connection, ledger: Path) -> Mapping[str, Seen] | None:
    """With a journal of the older kind a file is locked as a whole, and to change to it nobody else may have it open.

    None if SQLite cannot hold it, because it is damaged; one that is held and damaged further in tells nothing.
    """
    try:
        store.execute("PRAGMA locking_mode = EXCLUSIVE")
        store.execute("PRAGMA journal_mode = DELETE")
        store.execute("BEGIN EXCLUSIVE")
        return _far(store)
    except sqlite3.OperationalError as error:
        raise Misconfigured(f"{ledger} is in use, or cannot be read: {error}; {_STOP}") from error
    except sqlite3.DatabaseError:
        return {} if store.in_transaction else None


@contextmanager
def _locked(ledger: Path) -> Iterator[None]:
    """Hold the bytes by whose locks SQLite knows who has a file open, since it no longer opens this one itself.

    A lock belongs to the process, which loses it when it closes the file, however often it had that open.
    """
    try:
        with ledger.open("r+b") as opened:
            fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCKS_SIZE, _LOCKS_AT)
            yield
    except BlockingIOError as error:
        raise Misconfigured(f"{ledger} is damaged, and in use; {_STOP}") from error


def _far(store: sqlite3.Connection) -> dict[str, Seen]:
    """How far the world has come by each federation of a ledger, whatever the version of its tables."""
    knows = store.execute("SELECT count(*) FROM sqlite_master WHERE name = 'restorations'").fetchone() == (1,)
    queries = (_FAR, _FAR_BY_RESTORATIONS) if knows else (_FAR,)
    found: dict[str, Seen] = {}
    for (federation,) in store.execute("SELECT federation FROM federations").fetchall():
        said = [store.execute(query, {"of": federation}).fetchone() for query in queries]
        found[federation] = Seen(max(version for version, _ in said), max(window for _, window in said))
    return found


def _copy(source: sqlite3.Connection, draft: Path) -> None:
    """The whole of `source` as one file that only its owner may read, on the disk when this returns."""
    try:
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise Misconfigured(f"{draft} cannot be written: {error.strerror}") from error
    with closing(sqlite3.connect(draft, isolation_level=None)) as copy:
        copy.execute("PRAGMA synchronous = FULL")
        source.backup(copy, progress=_in_time(time.monotonic() + _WAIT_S))  # in one step, so it is of one instant
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, and no second one that could be left behind
    _flush(draft)


def _source(file: Path) -> sqlite3.Connection:
    """A file to read from; in an address every character of its name stands for itself."""
    return sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", timeout=_WAIT_S, uri=True)


def _in_time(until: float) -> Callable[[int, int, int], None]:
    """What is asked after each try to copy, which would else be made again for ever while somebody holds the file."""

    def look(status: int, _left: int, _whole: int) -> None:
        if status in _HELD and time.monotonic() > until:
            raise sqlite3.OperationalError(f"it is locked by somebody else, for {_WAIT_S:g} s already")

    return look


def _flush(file: Path) -> None:
    opened = os.open(file, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
    sync(file.parent)


def _proven(draft: Path) -> audit.Head:
    """The end of the audit chain of a copy that is whole, page by page, and that nobody has altered."""
    with closing(sqlite3.connect(f"{draft.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as store:
        said = [row[0] for row in store.execute("PRAGMA integrity_check(1)")]
    if said != ["ok"]:
        raise Damaged(f"the copy {draft} is not whole: {said[0]}")
    engine = connect(_url(draft))
    try:
        refuse_other_tables(engine)
        with reading(engine) as tx:
            return audit.verify(tx)
    finally:
        _closed(draft, engine)


def _url(file: Path) -> URL:
    """The address of a file, whatever its name."""
    return URL.create("sqlite", database=str(file))


def _mark(draft: Path, file: Path, seen: Mapping[str, Seen]) -> None:
    engine = connect(_url(draft))
    migrate(engine)
    now = round(time.time() * 1000)
    with writing(engine) as tx:
        if not (names := federations.names(tx)):
            raise Misconfigured(f"{file} holds no federation, so it is no backup of a ledger; take another one")
        for federation in sorted(names):
            _mark_one(tx, federation, file, seen.get(federation, Seen()), now)
    _closed(draft, engine)


def _mark_one(tx: Connection, federation: str, file: Path, seen: Seen, now: int) -> None:
    """Mark one federation of a ledger."""
    written = tx.execute(select(FEDERATIONS.c.ledger).where(FEDERATIONS.c.federation == federation)).scalar()
    body = {"why": f"restored from the backup {file.name}", "instead_of": written}
    restorations.mark(tx, federation, audit.Act(federation, now, "operator", RESTORED, federation, body), seen)


def _closed(draft: Path, engine: Engine) -> None:
    """Let go of a copy, and leave one file of it."""
    engine.dispose()
    with closing(sqlite3.connect(draft, isolation_level=None)) as copy:
        copy.execute("PRAGMA journal_mode = DELETE")
    _flush(draft)


def _aside(ledger: Path) -> Path | None:
    """Keep the ledger that is replaced, with what belongs to it, under a name that tells when it was."""
    if not ledger.exists():
        return None
    aside = ledger.with_name(f"{ledger.name}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    if aside.exists():
        raise Away(f"{aside} is there already: try again in a second")
    os.link(ledger, aside)
    for end in ("-wal", "-shm"):  # only a damaged one has them still
        belongs = ledger.with_name(f"{ledger.name}{end}")
        if belongs.exists():
            belongs.replace(aside.with_name(f"{aside.name}{end}"))
    return aside
