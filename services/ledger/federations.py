"""The federation itself: its plan, its keys, and whether it has come to its end."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import bindparam, insert, select, update

from mizzle.errors import Misconfigured
from mizzle.messages import Halt, ServerKey
from services.ledger.prepared import Prepared
from services.ledger.tables import FEDERATIONS, SERVER_KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from mizzle.plan import Plan


@dataclass(frozen=True)
class Federation:
    """What is fixed for as long as the parameter epoch lasts; `ledger` is a random name that no other ledger has."""

    ledger: str
    epoch: int
    plan: bytes
    model_digest: bytes


@dataclass(frozen=True)
class Halted:
    """The end of a federation: what is said of it, and when it came."""

    halt: Halt
    at: int


def insert_new(tx: Connection, ledger: str, plan: Plan, keys: Mapping[str, bytes], at: int) -> None:
    """Write a federation that works by `plan` and signs with `keys`, by role."""
    row = {
        "federation": plan.federation,
        "ledger": ledger,
        "epoch": 0,
        "plan_digest": plan.digest,
        "plan": plan.canonical,
        "model_digest": plan.model.digest,
        "created_at": at,
    }
    tx.execute(insert(FEDERATIONS).values(**row))
    rows = [{"federation": plan.federation, "role": role, "public_key": key} for role, key in keys.items()]
    tx.execute(insert(SERVER_KEYS), rows)


def find(tx: Connection, federation: str) -> Federation:
    """The federation of this name.

    Raises:
        Misconfigured: the ledger knows none; the text says which it knows.
    """
    known = {row.federation: row for row in tx.execute(select(FEDERATIONS))}
    if federation not in known:
        text = f"this ledger knows no federation {federation!r}, it knows {', '.join(sorted(known)) or 'none'}"
        raise Misconfigured(f"{text}: correct MIZZLE_FEDERATION or the plan's federation")
    row = known[federation]
    return Federation(ledger=row.ledger, epoch=row.epoch, plan=row.plan, model_digest=row.model_digest)


def rename(tx: Connection, federation: str) -> None:
    """Give the ledger's part of Redis a name that nobody has used."""
    this = FEDERATIONS.c.federation == federation
    tx.execute(update(FEDERATIONS).where(this).values(ledger=secrets.token_hex(8)))


_NAME: Final = Prepared(select(FEDERATIONS.c.ledger).where(FEDERATIONS.c.federation == bindparam("of")))


def name(tx: Connection, federation: str) -> str | None:
    """The name under which Redis knows the ledger now."""
    found: str | None = _NAME.scalar(tx, {"of": federation})
    return found


def names(tx: Connection) -> frozenset[str]:
    """The federations of this ledger."""
    return frozenset(tx.execute(select(FEDERATIONS.c.federation)).scalars())


def server_keys(tx: Connection, federation: str) -> tuple[ServerKey, ...]:
    """The federation's public keys, by the name of their roles."""
    wanted = select(SERVER_KEYS).where(SERVER_KEYS.c.federation == federation).order_by(SERVER_KEYS.c.role)
    return tuple(ServerKey(role=row.role, public_key=row.public_key) for row in tx.execute(wanted))


def halted(tx: Connection, federation: str, after: int) -> Halted | None:
    """The end of the federation, as it is said after window `after`; None while windows open."""
    wanted = select(FEDERATIONS).where(FEDERATIONS.c.federation == federation)
    row = tx.execute(wanted).one()
    return Halted(Halt(after=after, reason=row.halted, why=row.halted_why), row.halted_at) if row.halted else None


def halt(tx: Connection, federation: str, reason: Literal["budget", "complete"], why: str, at: int) -> None:
    """Open no window from now on."""
    ended = {"halted": reason, "halted_why": why, "halted_at": at}
    tx.execute(update(FEDERATIONS).where(FEDERATIONS.c.federation == federation).values(ended))
