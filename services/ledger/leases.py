"""Who holds a place: an epoch per service, issued here and nowhere else, since Redis may go back in time (FACTS 13)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.sqlite import insert

from mizzle.errors import Fenced, Superseded
from services.ledger.prepared import Prepared
from services.ledger.tables import LEASES

if TYPE_CHECKING:
    from sqlalchemy import Connection

LEAP: Final = 2**32
"""So many starts of a service there will never be; 2^21 leaps keep within the 2^53 that Redis counts exactly."""


_NEWEST: Final = Prepared(select(LEASES.c.epoch).where(LEASES.c.name == bindparam("place")))


def issue(tx: Connection, name: str, holder: str, at: int, held: int = 0) -> int:
    """The next epoch of the place `name`; whoever had an earlier one has lost the place.

    Raises:
        Superseded: it was for whoever had it in epoch `held`, and somebody else was given a newer one since.
    """
    if held and (given := newest(tx, name)) > held:
        raise Superseded(f"{name} was given to a successor in epoch {given}; ours was {held}")
    first = insert(LEASES).values(name=name, epoch=1, holder=holder, issued_at=at)
    again = first.on_conflict_do_update(
        index_elements=["name"], set_={"epoch": LEASES.c.epoch + 1, "holder": holder, "issued_at": at}
    )
    return int(tx.execute(again.returning(LEASES.c.epoch)).scalar_one())


def leap(tx: Connection, federation: str) -> None:
    """Issue no epoch of this federation's places from now on that a newer ledger may have issued before."""
    ours = LEASES.c.name.startswith(f"{federation}/", autoescape=True)
    tx.execute(update(LEASES).where(ours).values(epoch=LEASES.c.epoch + LEAP))


def newest(tx: Connection, name: str) -> int:
    """The newest epoch that was issued for the place `name`; 0 before the first."""
    return int(_NEWEST.scalar(tx, {"place": name}) or 0)


def check(tx: Connection, name: str, epoch: int) -> None:
    """Return if `epoch` is the newest one issued for the place `name`.

    Raises:
        Fenced: it is not.
    """
    held = newest(tx, name)
    if held != epoch:
        text = f"{name} is held in epoch {held or 'none'}, this transaction is of epoch {epoch}: nothing is written"
        raise Fenced(text)
