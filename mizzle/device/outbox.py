"""What a device may not forget: its updates until their receipts, the receipts, and how far its counter has come.

One SQLite file (WAL, `synchronous=FULL`, every transaction BEGIN IMMEDIATE), so that a loss of power at any moment
leaves the state before a call or after it. One process writes. Others may read; these are its tables, and their columns
are not renamed:

    waiting   number INTEGER PRIMARY KEY, id BLOB, window INTEGER, at INTEGER, sealed BLOB, payload BLOB
              an update without a receipt; `number` grows in the order in which updates were kept
    receipts  number INTEGER PRIMARY KEY, id BLOB, window INTEGER, at INTEGER, sealed BLOB
              how an update ended: the receipt as the federation sealed it; the newest 10,000
    sent      number INTEGER PRIMARY KEY, id BLOB, at INTEGER
              one row each time an update or parts of it were sent, so that it is seen when it was sent again, and that
              it need not be sent whole; the newest 100,000
    memory    name TEXT PRIMARY KEY, value
              `counter` (the first number never signed under), `identity` (sealed), `window` and `version` (newest
              seen), `lost` (what the codec lost of the updates so far), `kept` (how many updates were ever kept: as
              many as wait and the newest receipt's number together, else one was forgotten without its receipt)

`id` is the update's id, 32 bytes; `window` the one its signed header names; `at` this device's clock, in milliseconds
since 1970. The signing key is not in here: it lies in a file of its own beside this one.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

from mizzle.device.events import Cleared, Full, Kept
from mizzle.device.states import Bounds, Newest, Waiting
from mizzle.errors import Away, Misconfigured, MizzleError
from mizzle.failpoints import failpoint
from mizzle.transport import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

MOST_RECEIPTS: Final = 10_000
MOST_SENDS: Final = 100_000

_LEAST_ROOM: Final = 256 * 1024
"""What receipts, counts and numbers want beside an update."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS waiting (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, window INTEGER NOT NULL, at INTEGER NOT NULL,
    sealed BLOB NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS receipts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, window INTEGER NOT NULL, at INTEGER NOT NULL,
    sealed BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS sent (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL, at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS memory (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""

_COUNT_KEPT: Final = """
INSERT INTO memory (name, value) VALUES ('kept', (SELECT count(*) FROM waiting)
    + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'receipts'), 0))
ON CONFLICT (name) DO UPDATE SET value = value + 1
"""
"""One more was kept; an outbox from before there was the count begins with what waits and what was answered."""


def _unopened(path: Path, error: sqlite3.DatabaseError) -> MizzleError:
    """What it is that an outbox cannot be opened: one on a full disk holds all that it held, and is not moved away."""
    place = os.statvfs(path.parent)
    if place.f_bavail * place.f_frsize < _LEAST_ROOM:
        return Away(f"the outbox {path} cannot be opened: {error}, and its disk is full; free some space on it")
    return Misconfigured(f"the outbox {path} cannot be opened: {error}; move it away or give the device another home")


class Outbox:
    """The outbox in the file `path`; to be used from the thread that made it.

    Its methods raise `Away` where the disk does not take what they write, and have then changed nothing.

    Raises:
        Misconfigured: the file cannot be opened, or is no outbox.
        Away: its disk is full.
    """

    def __init__(
        self,
        path: Path,
        bounds: Bounds = Bounds(),  # noqa: B008  # frozen
        now: Callable[[], int] = clock.now,
    ) -> None:
        self._bounds, self._folder, self._now = bounds, path.parent, now
        try:
            self._store = sqlite3.connect(path, isolation_level=None)
            self._store.execute("PRAGMA journal_mode = WAL")
            self._store.execute("PRAGMA synchronous = FULL")
            self._store.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            raise _unopened(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.close()

    def keep(self, update: bytes, window: int, sealed: bytes, payload: bytes, lost: bytes = b"") -> Kept | Full:
        """Keep an update until its receipt, and with it what its codec `lost`; kept twice, it is there once."""
        count, size = self._one("SELECT count(*), coalesce(sum(length(sealed) + length(payload)), 0) FROM waiting")
        own = len(sealed) + len(payload)
        if count >= self._bounds.updates or size + own > self._bounds.size:
            return Full(window, f"{count} updates of {size} bytes wait for their receipts; {self._bounds} is the most")
        row = (update, window, self._now(), sealed, payload)
        try:
            with failpoint("outbox-write"), self._transaction() as store:
                added = store.execute(
                    "INSERT OR IGNORE INTO waiting (id, window, at, sealed, payload) VALUES (?, ?, ?, ?, ?)", row
                )
                if added.rowcount:
                    store.execute(_COUNT_KEPT)
                if lost:
                    store.execute("INSERT OR REPLACE INTO memory (name, value) VALUES ('lost', ?)", (lost,))
        except Away as error:
            return Full(window, str(error))
        return Kept(update, own)

    def lacks_room(self, size: int) -> bool:
        """Whether the disk would not take an update of so many bytes, which lies there twice for a moment."""
        place = os.statvfs(self._folder)
        return place.f_bavail * place.f_frsize < 2 * size + _LEAST_ROOM

    def waiting(self) -> tuple[Waiting, ...]:
        """What waits for a receipt, oldest first, and whether it was ever sent."""
        rows = self._store.execute(
            "SELECT id, length(sealed) + length(payload), id IN (SELECT id FROM sent) FROM waiting ORDER BY number"
        )
        return tuple(Waiting(update, size, sent=bool(sent)) for update, size, sent in rows)

    def sealed(self, update: bytes) -> bytes | None:
        """The sealed header of an update that waits; None if it does not."""
        found = self._store.execute("SELECT sealed FROM waiting WHERE id = ?", (update,)).fetchone()
        return found[0] if found else None

    def payload(self, update: bytes) -> tuple[bytes, bytes] | None:
        """The sealed header and the payload of an update that waits; None if it does not."""
        found: tuple[bytes, bytes] | None = self._store.execute(
            "SELECT sealed, payload FROM waiting WHERE id = ?", (update,)
        ).fetchone()
        return found

    def sent(self, update: bytes) -> None:
        """Count that an update, or a part of it, is being sent."""
        with self._transaction() as store:
            number = store.execute("INSERT INTO sent (id, at) VALUES (?, ?)", (update, self._now())).lastrowid or 0
            store.execute("DELETE FROM sent WHERE number <= ?", (number - MOST_SENDS,))

    def clear(self, update: bytes, receipt: bytes) -> Cleared:
        """Keep the sealed receipt of an update in its place; what does not wait stays as it is."""
        with failpoint("receipt"), self._transaction() as store:
            taken = store.execute("DELETE FROM waiting WHERE id = ? RETURNING window", (update,)).fetchone()
            if taken is not None:
                row = (update, taken[0], self._now(), receipt)
                added = store.execute("INSERT INTO receipts (id, window, at, sealed) VALUES (?, ?, ?, ?)", row)
                store.execute("DELETE FROM receipts WHERE number <= ?", ((added.lastrowid or 0) - MOST_RECEIPTS,))
        return Cleared(update)

    def receipts(self) -> list[bytes]:
        """The sealed receipts that are kept, oldest first."""
        return [sealed for (sealed,) in self._store.execute("SELECT sealed FROM receipts ORDER BY number")]

    def sends(self) -> int:
        """How often an update was sent."""
        count: int = self._one("SELECT count(*) FROM sent")[0]
        return count

    @property
    def counter(self) -> int:
        """The first number that was never reserved."""
        return self._remembered("counter")

    def reserve(self, count: int) -> range:
        """Numbers for `count` messages; none of them was ever reserved before, whatever crashed."""
        start = self.counter
        self._remember(counter=start + count)
        return range(start, start + count)

    @property
    def identity(self) -> bytes | None:
        """The sealed identity, if the device belongs."""
        return self._bytes("identity")

    @property
    def lost(self) -> bytes:
        """What the codec has lost of the updates so far; empty if nothing, or if it makes up for it by itself."""
        return self._bytes("lost") or b""

    def remember_identity(self, sealed: bytes) -> None:
        """Keep the sealed identity."""
        self._remember(identity=sealed)

    @property
    def newest(self) -> Newest:
        """The newest window invited to, and base version seen."""
        return Newest(self._remembered("window"), self._remembered("version"))

    def accept(self, window: int, version: int) -> None:
        """Keep the newest window and base version; neither ever falls."""
        newest = self.newest
        self._remember(window=max(newest.window, window), version=max(newest.version, version))

    def _bytes(self, name: str) -> bytes | None:
        found = self._store.execute("SELECT value FROM memory WHERE name = ?", (name,)).fetchone()
        return found[0] if found else None

    def _remembered(self, name: str) -> int:
        found = self._store.execute("SELECT value FROM memory WHERE name = ?", (name,)).fetchone()
        return int(found[0]) if found else 0

    def _remember(self, **values: int | bytes) -> None:
        with failpoint("outbox-memory"), self._transaction() as store:
            store.executemany("INSERT OR REPLACE INTO memory (name, value) VALUES (?, ?)", values.items())

    def _one(self, query: str) -> tuple[int, ...]:
        row: tuple[int, ...] = self._store.execute(query).fetchone()
        return row

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._store.execute("BEGIN IMMEDIATE")
            yield self._store
            self._store.execute("COMMIT")
        except sqlite3.Error as error:
            raise Away(f"the outbox cannot be written: {error}; free some space on its disk") from error
        finally:
            if self._store.in_transaction:
                self._store.execute("ROLLBACK")
