"""The ledger, in memory: the real tables and the real accountant's `book`, and every content that was ever reached.

A content is a *page*, named by a number; equal rows are one page. Leases are left out of it, since the explorer issues
the epochs: whoever books says whether its epoch is the newest. What was booked on a page once is not booked again: the
same bookings at the same instant lead to the same page, which is what makes an exploration quick.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import insert, select

from mizzle.codec import decode_between_services, encode
from mizzle.moves import Told
from mizzle.plan import Plan
from services.ledger import blobs, conservation, enrolments, federations
from services.ledger.engine import connect, reading, writing
from services.ledger.ledger import WRITER, Ledger
from services.ledger.migrate import migrate
from services.ledger.tables import AUDIT, BUDGETS, CHARGES, DELIVERIES, LEASES, METADATA, RELEASES, UPDATES, WINDOWS
from services.privacy_accountant.book import book
from services.runtime.service import Booking
from tests.exploration.small import MODEL, ROLES, START, Device, devices_of, ground_of, opening

Asked = tuple[tuple[bytes, tuple[tuple[bytes, bytes], ...], str, str], ...]
"""Bookings: the message's bytes, what is attached, the stream and the entry."""

Book = Callable[..., list[Any]]
Rows = dict[str, list[dict[str, Any]]]
COMPARED = (UPDATES, CHARGES, BUDGETS, RELEASES, WINDOWS, DELIVERIES)


class Page(NamedTuple):
    """One content of the ledger: its file, and the rows that claims are about."""

    file: bytes
    rows: Rows
    difference: int


class Unfenced(Exception):  # it says what happened
    """The ledger's own fence does not hold."""


class Shelf:
    """All pages so far."""

    def __init__(self, plan: Plan, book: Book = book, check: Callable[[Page, Page], None] = lambda *_: None) -> None:
        """A shelf whose first page has the window open and both devices in it; `check` sees every step to another."""
        self.plan, self.devices, self._book, self._check = plan, devices_of(plan), book, check
        self.pages: list[Page] = []
        self._numbers: dict[bytes, int] = {}
        self._said: dict[tuple[int, Asked, int], tuple[int, tuple[bytes, ...]]] = {}
        self._facts: dict[int, tuple[bytes, ...]] = {}
        self._blobs: dict[tuple[int, bytes], bytes | None] = {}
        engine = connect("sqlite:///:memory:", new=True)
        with engine.connect() as connection:
            self._raw: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]  # it is
        self._raw.execute("PRAGMA page_size=512")
        self._raw.execute("VACUUM")
        migrate(engine)
        self._ledger = Ledger(plan.federation, engine, _founded(engine, plan, self.devices))
        self._ground = ground_of(plan, WRITER)
        self._shown = self._number()
        self.first, _ = self.book(self._shown, ((encode(opening()), (), "booked", "1-0"),), START)

    def book(self, page: int, asked: Asked, now: int, *, is_newest: bool = True) -> tuple[int, tuple[bytes, ...]]:
        """The page after these bookings, and what is said; Fenced if the epoch is not the newest."""
        if not asked:
            return page, ()
        if not is_newest:
            return self._refused(page, asked, now)
        if (page, asked, now) not in self._said:
            with self._open(page):
                said = self._book(self._ledger, self._ground, 1, [_booking(*one) for one in asked], lambda: now)
                after = self._number()
                self._shown = after
            self._check(self.pages[page], self.pages[after])
            self._said[page, asked, now] = after, tuple(map(encode, said))
        return self._said[page, asked, now]

    def has_ended(self, page: int) -> bool:
        """Whether the window has."""
        return all(row["state"] != "open" for row in self.pages[page].rows["windows"])

    def facts(self, page: int) -> tuple[bytes, ...]:
        """What a service that resumes is told."""
        if page not in self._facts:
            with self._open(page):
                self._facts[page] = tuple(map(encode, self._ledger.facts()))
        return self._facts[page]

    def blob(self, page: int, digest: bytes) -> bytes | None:
        """The bytes of this digest."""
        if (page, digest) not in self._blobs:
            with self._open(page):
                self._blobs[page, digest] = self._ledger.blob(digest)
        return self._blobs[page, digest]

    def _refused(self, page: int, asked: Asked, now: int) -> tuple[int, tuple[bytes, ...]]:
        """What a writer of an older epoch gets; the page stays, or else the fence of the ledger is broken."""
        with self._open(page):
            self._shown = -1
            self._book(self._ledger, self._ground, 0, [_booking(*one) for one in asked], lambda: now)
        raise Unfenced(f"the ledger took bookings of an older epoch on page {page}")

    @contextmanager
    def _open(self, page: int) -> Iterator[None]:
        if page != self._shown:
            self._raw.deserialize(self.pages[page].file)
            self._shown = page
        yield

    def _number(self) -> int:
        """The number of the page that is open now."""
        with reading(self._ledger.engine) as tx:
            tables = [table for table in METADATA.sorted_tables if table not in (LEASES, AUDIT)]
            name = repr([list(map(tuple, tx.execute(select(table)))) for table in tables]).encode()
            if name in self._numbers:
                return self._numbers[name]
            rows = {table.name: [dict(row) for row in tx.execute(select(table)).mappings()] for table in COMPARED}
            difference = conservation.accounts(tx, self.plan.federation).difference
        self.pages.append(Page(self._raw.serialize(), rows, difference))
        return self._numbers.setdefault(name, len(self.pages) - 1)


def _founded(engine: Any, plan: Plan, devices: tuple[Device, ...]) -> federations.Federation:
    with writing(engine) as tx:
        keys = {role: key.public_key for role, key in ROLES.items()}
        federations.insert_new(tx, "explored", plan, keys, START)
        blobs.put(tx, MODEL)
        for device in devices:
            enrolments.enrol(tx, plan.federation, device.name, enrolments.Device(device.key.public_key, b"-"), START)
        name = f"{plan.federation}/{WRITER}"
        tx.execute(insert(LEASES).values(name=name, epoch=1, holder="explorer", issued_at=START))
        return federations.find(tx, plan.federation)


def _booking(body: bytes, attached: tuple[tuple[bytes, bytes], ...], stream: str, entry: str) -> Booking:
    return Booking(Told(decode_between_services(body), dict(attached)), stream, entry)
