"""Who belongs: tokens, each good for one device once, and the devices that have used theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert

from services.ledger.tables import BUDGETS, DEVICES, TOKENS

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


@dataclass(frozen=True)
class Token:
    """A token as the ledger knows it: the digest of its secret, and never the secret."""

    secret_digest: bytes
    expires_at: int
    used_at: int | None


@dataclass(frozen=True)
class Device:
    """A device that belongs, and the sealed identity that it is sent whenever it asks."""

    public_key: bytes
    identity: bytes


def issue_token(tx: Connection, federation: str, device: str, secret_digest: bytes, expires_at: int) -> None:
    """Let `device` enrol until `expires_at` with the secret of this digest; an unused token of the device goes."""
    first = insert(TOKENS).values(federation=federation, device=device, secret=secret_digest, expires_at=expires_at)
    anew = {"secret": secret_digest, "expires_at": expires_at}
    tx.execute(first.on_conflict_do_update(index_elements=["federation", "device"], set_=anew))


def token(tx: Connection, federation: str, device: str) -> Token | None:
    """The token made for this device."""
    wanted = select(TOKENS).where(TOKENS.c.federation == federation, TOKENS.c.device == device)
    row = tx.execute(wanted).first()
    return Token(row.secret, row.expires_at, row.used_at) if row else None


def device(tx: Connection, federation: str, name: str) -> Device | None:
    """The device of this name, if it belongs."""
    wanted = select(DEVICES).where(DEVICES.c.federation == federation, DEVICES.c.device == name)
    row = tx.execute(wanted).first()
    return Device(row.public_key, row.identity) if row else None


def enrol(tx: Connection, federation: str, name: str, enrolled: Device, at: int) -> None:
    """Let the device belong from now on: its token is used up, and its budget begins if no federation began it yet."""
    row = {"public_key": enrolled.public_key, "enrolled_at": at, "identity": enrolled.identity}
    tx.execute(insert(DEVICES).values(federation=federation, device=name, **row))
    mine = (TOKENS.c.federation == federation, TOKENS.c.device == name)
    tx.execute(update(TOKENS).where(*mine).values(used_at=at))
    tx.execute(insert(BUDGETS).values(device=name, settled=0, reserved=0).on_conflict_do_nothing())


def everybody(tx: Connection, federation: str) -> list[str]:
    """All devices that belong."""
    return list(tx.execute(select(DEVICES.c.device).where(DEVICES.c.federation == federation)).scalars())


def enrolled(tx: Connection, federation: str, names: Collection[str]) -> set[str]:
    """Those of `names` that belong."""
    wanted = select(DEVICES.c.device).where(DEVICES.c.federation == federation, DEVICES.c.device.in_(names))
    return set(tx.execute(wanted).scalars())
