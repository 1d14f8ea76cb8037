"""What every device has given away: reserved at admission, settled when it is released, void only where nothing was.

A budget is over all federations of a device. A reservation is one conditional statement, so that two of them cannot
jointly exceed what each of them alone respects (I19). Losses are μ² in units of 2^-32.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.sqlite import insert

from services.ledger.prepared import Prepared
from services.ledger.tables import BUDGETS, CHARGES, DEVICES

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


@dataclass(frozen=True)
class Hold:
    """A loss that is reserved for an update of this device in this window."""

    update: bytes
    federation: str
    device: str
    window: int
    loss: int


@dataclass(frozen=True)
class Standing:
    """How many devices of a federation can pay for another update, and what the one has spent that spent most."""

    able: int
    most: int


_SPENT: Final = BUDGETS.c.settled + BUDGETS.c.reserved
_HELD: Final = select(CHARGES.c.loss).where(CHARGES.c.update == bindparam("id"), CHARGES.c.state == "reserved")
_RESERVE: Final = Prepared(
    update(BUDGETS)
    .where(BUDGETS.c.device == bindparam("whose"), _SPENT + bindparam("more") <= bindparam("limit"))
    .values(reserved=BUDGETS.c.reserved + bindparam("more"))
    .returning(_SPENT)
)
_FIRST_HOLD: Final = insert(CHARGES).values(
    state="reserved", **{column.name: bindparam(column.name) for column in fields(Hold)}
)
_HOLD: Final = Prepared(
    _FIRST_HOLD.on_conflict_do_update(
        index_elements=["update"], set_={"window": _FIRST_HOLD.excluded.window, "loss": _FIRST_HOLD.excluded.loss}
    )
)


def spent(tx: Connection, device: str) -> int:
    """All that the device has spent or reserved."""
    wanted = select(_SPENT).where(BUDGETS.c.device == device)
    return int(tx.execute(wanted).scalar() or 0)


def most_spent(tx: Connection, federation: str) -> int:
    """All that the device of the federation has spent or reserved that has most: the federation's own loss."""
    members = DEVICES.join(BUDGETS, BUDGETS.c.device == DEVICES.c.device)
    wanted = select(func.max(_SPENT)).select_from(members).where(DEVICES.c.federation == federation)
    return int(tx.execute(wanted).scalar() or 0)


def with_room(tx: Connection, devices: Collection[str], loss: int, limit: int) -> set[str]:
    """Those of `devices` that may lose `loss` more without passing `limit`."""
    room = _SPENT + loss <= limit
    return set(tx.execute(select(BUDGETS.c.device).where(BUDGETS.c.device.in_(devices), room)).scalars())


def standing(tx: Connection, federation: str, loss: int, limit: int) -> Standing:
    """How the federation stands, where another update costs `loss` and `limit` is what a device may spend.

    It reads every budget once; one opening of a window is one look.
    """
    members = DEVICES.join(BUDGETS, BUDGETS.c.device == DEVICES.c.device)
    able, most = func.count().filter(_SPENT + loss <= limit), func.coalesce(func.max(_SPENT), 0)
    wanted = select(able, most).select_from(members).where(DEVICES.c.federation == federation)
    return Standing(*tx.execute(wanted).one())


def held(tx: Connection, update_id: bytes) -> int:
    """What is reserved for this update: something already, if it waits since its window was sealed without it."""
    return int(tx.execute(_HELD, {"id": update_id}).scalar() or 0)


def reserve(tx: Connection, hold: Hold, limit: int, instead_of: int = 0) -> int | None:
    """Reserve a loss, in place of what the update holds already; None, and nothing changes, if it would pass `limit`.

    What is given is all that the device has spent or reserved by now.
    """
    more = {"whose": hold.device, "more": hold.loss - instead_of, "limit": limit}
    spent: int | None = _RESERVE.scalar(tx, more)
    if spent is not None:
        _HOLD.changed(tx, vars(hold))
    return spent


def settle(tx: Connection, updates: Collection[bytes], version: int | None = None) -> None:
    """Turn the reservations of these updates into losses for ever; `version` is the release that they are in."""
    rows = _reserved(tx, updates)
    settled = {"reserved": BUDGETS.c.reserved - bindparam("loss"), "settled": BUDGETS.c.settled + bindparam("loss")}
    if rows:
        tx.execute(update(BUDGETS).where(BUDGETS.c.device == bindparam("whose")).values(settled), rows)
        _mark(tx, updates, "settled", version)


def surcharge(tx: Connection, device: str, loss: int) -> None:
    """Count a loss of the device that no update stands for, for ever and whatever its budget allows."""
    more = {"settled": BUDGETS.c.settled + loss}
    tx.execute(update(BUDGETS).where(BUDGETS.c.device == device).values(more))


def void(tx: Connection, updates: Collection[bytes]) -> None:
    """Give back what these updates reserved: they were abandoned with a window whose noise was never drawn (I18)."""
    rows = _reserved(tx, updates)
    given_back = {"reserved": BUDGETS.c.reserved - bindparam("loss")}
    if rows:
        tx.execute(update(BUDGETS).where(BUDGETS.c.device == bindparam("whose")).values(given_back), rows)
        _mark(tx, updates, "void", None)


def _reserved(tx: Connection, updates: Collection[bytes]) -> list[dict[str, str | int]]:
    of_them = (CHARGES.c.update.in_(updates), CHARGES.c.state == "reserved")
    return [
        {"whose": device, "loss": loss}
        for device, loss in tx.execute(select(CHARGES.c.device, CHARGES.c.loss).where(*of_them))
    ]


def _mark(tx: Connection, updates: Collection[bytes], state: str, version: int | None) -> None:
    of_them = (CHARGES.c.update.in_(updates), CHARGES.c.state == "reserved")
    tx.execute(update(CHARGES).where(*of_them).values(state=state, version=version))
