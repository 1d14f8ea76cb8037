"""What every device has given away: reserved at admission, settled when it is released, void only where nothing was.

A budget is over all federations of a device. A reservation is one conditional statement, so that two of them cannot
jointly exceed what each of them alone respects (I19). Losses are μ² in units of 2^-32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.sqlite import insert

from services.ledger.tables import BUDGETS, CHARGES

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


def spent(tx: Connection, device: str) -> int:
    """All that the device has spent or reserved."""
    wanted = select(BUDGETS.c.settled + BUDGETS.c.reserved).where(BUDGETS.c.device == device)
    return int(tx.execute(wanted).scalar() or 0)


def with_room(tx: Connection, devices: Collection[str], loss: int, limit: int) -> set[str]:
    """Those of `devices` that may lose `loss` more without passing `limit`."""
    room = BUDGETS.c.settled + BUDGETS.c.reserved + loss <= limit
    return set(tx.execute(select(BUDGETS.c.device).where(BUDGETS.c.device.in_(devices), room)).scalars())


def reserve(tx: Connection, place: tuple[str, str, int], update_id: bytes, loss: int, limit: int) -> bool:
    """Reserve `loss` for an update in a place (federation, device, window), unless its device would pass `limit`.

    What the update holds reserved from a window before this one is replaced.
    """
    federation, device, window = place
    more = loss - _held(tx, update_id)
    room = BUDGETS.c.settled + BUDGETS.c.reserved + more <= limit
    taken = update(BUDGETS).where(BUDGETS.c.device == device, room).values(reserved=BUDGETS.c.reserved + more)
    if tx.execute(taken).rowcount != 1:
        return False
    row = {"federation": federation, "device": device, "window": window, "loss": loss, "state": "reserved"}
    first = insert(CHARGES).values(update=update_id, **row)
    tx.execute(first.on_conflict_do_update(index_elements=["update"], set_=row))
    return True


def settle(tx: Connection, updates: Collection[bytes], version: int | None = None) -> None:
    """Turn the reservations of these updates into losses for ever; `version` is the release that they are in."""
    rows = _reserved(tx, updates)
    settled = {"reserved": BUDGETS.c.reserved - bindparam("loss"), "settled": BUDGETS.c.settled + bindparam("loss")}
    if rows:
        tx.execute(update(BUDGETS).where(BUDGETS.c.device == bindparam("whose")).values(settled), rows)
        _mark(tx, updates, "settled", version)


def void(tx: Connection, updates: Collection[bytes]) -> None:
    """Give back what these updates reserved: they were abandoned with a window whose noise was never drawn (I18)."""
    rows = _reserved(tx, updates)
    given_back = {"reserved": BUDGETS.c.reserved - bindparam("loss")}
    if rows:
        tx.execute(update(BUDGETS).where(BUDGETS.c.device == bindparam("whose")).values(given_back), rows)
        _mark(tx, updates, "void", None)


def _held(tx: Connection, update_id: bytes) -> int:
    wanted = select(CHARGES.c.loss).where(CHARGES.c.update == update_id, CHARGES.c.state == "reserved")
    return int(tx.execute(wanted).scalar() or 0)


def _reserved(tx: Connection, updates: Collection[bytes]) -> list[dict[str, str | int]]:
    of_them = (CHARGES.c.update.in_(updates), CHARGES.c.state == "reserved")
    return [
        {"whose": device, "loss": loss}
        for device, loss in tx.execute(select(CHARGES.c.device, CHARGES.c.loss).where(*of_them))
    ]


def _mark(tx: Connection, updates: Collection[bytes], state: str, version: int | None) -> None:
    of_them = (CHARGES.c.update.in_(updates), CHARGES.c.state == "reserved")
    tx.execute(update(CHARGES).where(*of_them).values(state=state, version=version))
