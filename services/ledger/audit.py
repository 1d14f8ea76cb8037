"""The audit chain: what was decided, each row bound to the one before it, written in the transaction that it records.

A row's `hash` is the SHA-256 of a JSON object with the keys action, actor, at, body, federation, previous, seq and
subject, sorted, without spaces, in UTF-8. `body` is the column's text as it stands, `previous` the hash of the row
before in hexadecimal; before the first row it is 64 zeros. Whoever drops, edits or reorders a row breaks the chain; who
cuts off its end is found by a head that was noted elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, insert, select

from mizzle.errors import Forged
from mizzle.failpoints import failpoint
from services.ledger.tables import AUDIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

_BEFORE_THE_FIRST: Final = bytes(32)


@dataclass(frozen=True)
class Act:
    """Who did what to what, when; `body` says the rest in JSON's types."""

    federation: str
    at: int
    actor: str
    action: str
    subject: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Head:
    """The end of the chain: how many rows there are, and the hash of the last one."""

    seq: int
    hash: bytes


def append(tx: Connection, act: Act) -> Head:
    """Add a row to the chain, and give its new end."""
    before = head(tx)
    row = {
        "seq": before.seq + 1,
        "federation": act.federation,
        "at": act.at,
        "actor": act.actor,
        "action": act.action,
        "subject": act.subject,
        "body": _canonical(act.body),
    }
    digest = _hash(row, before.hash)
    with failpoint("audit-append"):
        tx.execute(insert(AUDIT).values(**row, previous=before.hash, hash=digest))
    return Head(before.seq + 1, digest)


def recent(tx: Connection, action: str, since: int, within: int) -> int:
    """How many of the newest `within` rows say this action, and were written after `since`."""
    newest = select(AUDIT.c.action, AUDIT.c.at).order_by(AUDIT.c.seq.desc()).limit(within).subquery()
    wanted = select(func.count()).select_from(newest).where(newest.c.action == action, newest.c.at > since)
    return int(tx.execute(wanted).scalar_one())


def head(tx: Connection) -> Head:
    """The end of the chain as the newest row says it; only `verify` proves it."""
    found = tx.execute(select(AUDIT.c.seq, AUDIT.c.hash).order_by(AUDIT.c.seq.desc()).limit(1)).first()
    return Head(found.seq, found.hash) if found else Head(0, _BEFORE_THE_FIRST)


def said(body: str) -> dict[str, Any]:
    """What a row's body says; nothing if it was altered so that it is no JSON object, which `verify` tells."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def verify(tx: Connection, known: Head | None = None) -> Head:
    """The end of the chain, every row of it recomputed; it must run through `known`, a head that was noted earlier.

    Raises:
        Forged: a row was changed, dropped, added or moved; the text names the first one that does not fit.
    """
    end, met = Head(0, _BEFORE_THE_FIRST), known is None or known.seq == 0
    for row in tx.execute(select(AUDIT).order_by(AUDIT.c.seq)).mappings():
        stands = {name: row[name] for name in ("seq", "federation", "at", "actor", "action", "subject", "body")}
        if (row["seq"], row["previous"], row["hash"]) != (end.seq + 1, end.hash, _hash(stands, end.hash)):
            text = f"the audit chain breaks at row {row['seq']} ({row['action']} {row['subject']}), after row {end.seq}"
            raise Forged(f"{text}: it is not what was written then. Compare with a backup: services.ledger verify")
        end = Head(row["seq"], row["hash"])
        met = met or end == known
    if not met and known is not None:
        text = f"the audit chain does not run through row {known.seq} with hash {known.hash.hex()}, noted earlier"
        raise Forged(f"{text}: it ends at row {end.seq}, so rows were cut off or written anew")
    return end


def _hash(row: Mapping[str, Any], previous: bytes) -> bytes:
    return hashlib.sha256(_canonical({**row, "previous": previous.hex()}).encode()).digest()


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
