"""Every update that was ever admitted, the window it counts in, and the very bytes of the receipt that ended it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import bindparam, func, insert, or_, select, union_all, update

from mizzle.messages import Answer, Charge
from services.ledger.prepared import Prepared
from services.ledger.tables import BUDGETS, UPDATES
from services.ledger.windows import find as find_window

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy import Connection, Select

Outcome = Literal["open", "counted", "refused", "abandoned"]


@dataclass(frozen=True)
class Row:
    """An update in the ledger: `named_window` stands in its signed header, `window` is the one it is bound to.

    While `outcome` is open and `window` is None, it waits for the next window to open. A refused one with a window is
    the zero update there; in a buffered federation that may be the next window, which is not open yet.
    """

    id: bytes
    device: str
    named_window: int
    window: int | None
    staleness: int
    weight: int
    outcome: Outcome
    receipt: bytes | None

    @property
    def answer(self) -> Answer:
        """Its receipt, on the way to the device; nobody needs its payload any more."""
        return Answer(device=self.device, kind="receipt", sealed=self.receipt or b"", ends=self.id)

    @property
    def early_answer(self) -> Answer:
        """Its receipt, while its payload may still be needed."""
        return Answer(device=self.device, kind="receipt", sealed=self.receipt or b"")

    def may_leave(self, open_window: int | None) -> bool:
        """Whether it may have to be subtracted from the sum of the window that is open: then its payload is needed."""
        return self.weight > 0 and self.window is not None and self.window == open_window


@dataclass(frozen=True)
class Admission:
    """How an update came: its signed header, the score that decided, and when."""

    sealed: bytes
    decided_by: str
    admitted_at: int


@dataclass(frozen=True)
class Ending:
    """How an update ends: the sealed receipt that says so, and when; `version` is the release that it is counted in."""

    outcome: Outcome
    receipt: bytes
    ended_at: int
    reason: str | None = None
    version: int | None = None


_NAMES: Final = tuple(field.name for field in fields(Row))
_ROW: Final = tuple(UPDATES.c[name] for name in _NAMES)


_FIND: Final = Prepared(select(*_ROW).where(UPDATES.c.id == bindparam("id")))
_OF_DEVICE: Final = select(UPDATES.c.id).where(
    UPDATES.c.federation == bindparam("of"), UPDATES.c.device == bindparam("whose")
)
_SENT: Final = Prepared(_OF_DEVICE.where(UPDATES.c.named_window == bindparam("named")).limit(1))
_WEIGHT: Final = Prepared(
    _OF_DEVICE.with_only_columns(func.coalesce(func.sum(UPDATES.c.weight), 0)).where(
        UPDATES.c.window == bindparam("bound")
    )
)
_HELD: Final = Prepared(
    select(func.count())
    .select_from(UPDATES)
    .where(UPDATES.c.federation == bindparam("of"), UPDATES.c.window == bindparam("bound"))
)
_ADMIT: Final = Prepared(insert(UPDATES), ["federation", *_NAMES, *(field.name for field in fields(Admission))])
_ENDING: Final = (
    update(UPDATES)
    .where(UPDATES.c.id == bindparam("ended"), UPDATES.c.outcome == "open")
    .values({field.name: bindparam(field.name) for field in fields(Ending)})
)
_END: Final = Prepared(_ENDING)
_COUNT: Final = Prepared(_ENDING.where(UPDATES.c.window == bindparam("bound"), UPDATES.c.weight == bindparam("heavy")))


def find(tx: Connection, update_id: bytes) -> Row | None:
    """The update with this id."""
    row = _FIND.first(tx, {"id": update_id})
    return Row(*row) if row else None


def has_sent(tx: Connection, federation: str, device: str, named_window: int) -> bool:
    """Whether the device has sent any update for this window."""
    return _SENT.first(tx, {"of": federation, "whose": device, "named": named_window}) is not None


def admit(tx: Connection, federation: str, row: Row, admission: Admission) -> None:
    """Write an update that was not known."""
    _ADMIT.changed(tx, {"federation": federation, **vars(row), **vars(admission)})


def bind(tx: Connection, update_id: bytes, window: int, weight: int, staleness: int) -> None:
    """Bind a waiting update to a window."""
    bound = {"window": window, "weight": weight, "staleness": staleness}
    tx.execute(update(UPDATES).where(UPDATES.c.id == update_id, UPDATES.c.outcome == "open").values(bound))


def let_wait(tx: Connection, updates: Collection[bytes]) -> None:
    """Unbind open updates from the window they missed: they wait for the next one."""
    loose = {"window": None, "weight": 0, "staleness": 0}
    tx.execute(update(UPDATES).where(UPDATES.c.id.in_(updates), UPDATES.c.outcome == "open").values(loose))


def end(tx: Connection, update_id: bytes, ending: Ending) -> None:
    """End an open update; one that has ended stays as it is."""
    _END.changed(tx, {"ended": update_id, **vars(ending)})


def count(tx: Connection, row: Row, ending: Ending) -> bool:
    """Count a member by compare-and-set: False, and nothing is changed, unless it is open just as `row` says."""
    same = {"ended": row.id, "bound": row.window, "heavy": row.weight}
    return _COUNT.changed(tx, {**same, **vars(ending)}) == 1


def of_ids(tx: Connection, updates: Collection[bytes]) -> dict[bytes, Row]:
    """Those of these updates that are known, by id."""
    return {row.id: row for row in _rows(tx, select(*_ROW).where(UPDATES.c.id.in_(updates)))}


def open_in(tx: Connection, federation: str, window: int) -> list[Row]:
    """The open updates that are bound to this window, in the order of admission."""
    there = (UPDATES.c.federation == federation, UPDATES.c.window == window, UPDATES.c.outcome == "open")
    return list(_rows(tx, _in_order(select(*_ROW).where(*there))))


def waiting(tx: Connection, federation: str) -> list[Row]:
    """The updates that wait for the next window, in the order of admission."""
    unbound = (UPDATES.c.federation == federation, UPDATES.c.window.is_(None), UPDATES.c.outcome == "open")
    return list(_rows(tx, _in_order(select(*_ROW).where(*unbound))))


def coming_to(tx: Connection, federation: str, window: int) -> list[Row]:
    """What a window finds when it opens, in the order of admission: what waits, and refused ones that would have."""
    ours = select(*_ROW, UPDATES.c.admitted_at).where(UPDATES.c.federation == federation)
    waits = ours.where(UPDATES.c.window.is_(None), UPDATES.c.outcome == "open")
    both = union_all(waits, ours.where(UPDATES.c.window == window))  # with OR, SQLite reads every update there ever was
    return [Row(*row[:-1]) for row in tx.execute(both.order_by("admitted_at", "id"))]


def put_zero(tx: Connection, update_id: bytes, window: int | None) -> None:
    """Make a refused update the zero update of this window, or of none."""
    refused = (UPDATES.c.id == update_id, UPDATES.c.outcome == "refused", UPDATES.c.weight == 0)
    tx.execute(update(UPDATES).where(*refused).values(window=window))


def ended_with(tx: Connection, federation: str, window: int | None, at: int) -> list[Row]:
    """The updates that ended at the instant `at`, in this window or while they waited for another one."""
    there = (UPDATES.c.federation == federation, or_(UPDATES.c.window == window, UPDATES.c.window.is_(None)))
    return list(_rows(tx, _in_order(select(*_ROW).where(*there, UPDATES.c.ended_at == at))))


def ended_before(tx: Connection, federation: str, window: int, at: int) -> list[Row]:
    """The updates that may have been in the sum of this window, and had ended when it did, at the instant `at`."""
    there = (UPDATES.c.federation == federation, UPDATES.c.window == window, UPDATES.c.weight > 0)
    return list(
        _rows(tx, _in_order(select(*_ROW).where(*there, UPDATES.c.outcome != "open", UPDATES.c.ended_at != at)))
    )


def weight_in(tx: Connection, federation: str, device: str, window: int) -> int:
    """The weights of all updates of one device that are bound to a window, added up."""
    return int(_WEIGHT.scalar(tx, {"of": federation, "whose": device, "bound": window}))


def late_in(tx: Connection, federation: str, window: int) -> int:
    """How many updates of earlier windows are bound to this one."""
    there = (UPDATES.c.federation == federation, UPDATES.c.window == window, UPDATES.c.named_window != window)
    return int(tx.execute(select(func.count()).select_from(UPDATES).where(*there)).scalar_one())


def held_in(tx: Connection, federation: str, window: int) -> int:
    """How many updates are bound to this window, zero updates among them."""
    return int(_HELD.scalar(tx, {"of": federation, "bound": window}))


def senders(tx: Connection, federation: str, named_window: int) -> set[str]:
    """The devices that have sent an update for this window."""
    there = (UPDATES.c.federation == federation, UPDATES.c.named_window == named_window)
    return set(tx.execute(select(UPDATES.c.device).where(*there)).scalars())


def charges_in(tx: Connection, federation: str, window: int, only: bytes | None = None) -> list[Charge]:
    """What an open window holds, as the aggregator is told it: open updates, and refused ones as the zero update."""
    there = (UPDATES.c.federation == federation, UPDATES.c.window == window)
    counts = or_(UPDATES.c.outcome == "open", UPDATES.c.weight == 0)
    wanted = select(*_ROW, (BUDGETS.c.settled + BUDGETS.c.reserved).label("spent")).where(*there, counts)
    if only is not None:
        wanted = wanted.where(UPDATES.c.id == only)
    rows = tx.execute(_in_order(wanted.outerjoin(BUDGETS, BUDGETS.c.device == UPDATES.c.device))).all()
    seeds = {number: _seed(tx, federation, number) for number in {row.named_window for row in rows}}
    return [
        Charge(
            id=row.id,
            device=row.device,
            window=window,
            weight=row.weight,
            staleness=row.staleness,
            seed=seeds[row.named_window],
            spent=row.spent or 0,
        )
        for row in rows
    ]


def _seed(tx: Connection, federation: str, number: int) -> bytes:
    named = find_window(tx, federation, number)
    return named.window.seed if named else bytes(32)


def _in_order(wanted: Select[Any]) -> Select[Any]:
    return wanted.order_by(UPDATES.c.admitted_at, UPDATES.c.id)


def _rows(tx: Connection, wanted: Select[Any]) -> Iterator[Row]:
    return (Row(*row) for row in tx.execute(wanted).all())
