"""Windows, from their opening to their end; at most one is open, and it is the newest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import bindparam, func, insert, select, update

from mizzle.codec import decode, encode
from mizzle.messages import Window
from services.ledger.prepared import Prepared
from services.ledger.tables import WINDOWS

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True)
class Found:
    """A window as the ledger has it; `version` is the release made of it."""

    window: Window
    state: Literal["open", "released", "abandoned"]
    opened_at: int
    ended_at: int | None
    version: int | None

    @property
    def is_open(self) -> bool:
        """Whether it still collects."""
        return self.state == "open"

    @property
    def next_version(self) -> int:
        """The version of the model that the window after it starts from, as far as it is known."""
        return self.window.base.version if self.version is None else self.version


_COLUMNS: Final = ("body", "state", "opened_at", "ended_at", "version")
_OURS: Final = select(*(WINDOWS.c[name] for name in _COLUMNS)).where(WINDOWS.c.federation == bindparam("of"))
_FIND: Final = Prepared(_OURS.where(WINDOWS.c.number == bindparam("wanted")))
_LAST: Final = Prepared(_OURS.order_by(WINDOWS.c.number.desc()).limit(1))
_OPEN: Final = Prepared(_OURS.where(WINDOWS.c.state == "open"))


def find(tx: Connection, federation: str, number: int) -> Found | None:
    """The window with this number."""
    return _found(_FIND.first(tx, {"of": federation, "wanted": number}))


def last(tx: Connection, federation: str) -> Found | None:
    """The newest window, open or not; None before the first."""
    return _found(_LAST.first(tx, {"of": federation}))


def still_open(tx: Connection, federation: str) -> list[Found]:
    """The windows that are open: one at most, and the newest, unless the ledger was restored."""
    return [found for row in _OPEN.all(tx, {"of": federation}) if (found := _found(row))]


def unreleased(tx: Connection, federation: str, base_version: int) -> int:
    """How many windows of which no release was made started from this version or a newer one."""
    wanted = select(func.count()).select_from(WINDOWS).where(WINDOWS.c.federation == federation)
    wanted = wanted.where(WINDOWS.c.state != "released", WINDOWS.c.base_version >= base_version)
    return int(tx.execute(wanted).scalar_one())


def open_new(tx: Connection, federation: str, window: Window, at: int) -> None:
    """Open a window; its number is one that no window has."""
    row = {"base_version": window.base.version, "opened_at": at, "deadline": window.deadline, "body": encode(window)}
    tx.execute(insert(WINDOWS).values(federation=federation, number=window.number, state="open", **row))


def end(tx: Connection, federation: str, number: int, version: int | None, at: int) -> None:
    """End the window: released as `version`, or abandoned if there is none."""
    state = "abandoned" if version is None else "released"
    this = (WINDOWS.c.federation == federation, WINDOWS.c.number == number, WINDOWS.c.state == "open")
    tx.execute(update(WINDOWS).where(*this).values(state=state, version=version, ended_at=at))


def _found(row: tuple[Any, ...] | None) -> Found | None:
    return Found(_window(row[0]), *row[1:]) if row else None


@lru_cache(maxsize=64)
def _window(body: bytes) -> Window:
    return decode(body, Window)
