"""Blobs: models, optimizer memories and noised sums, each under the SHA-256 of its bytes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from services.ledger.tables import BLOBS

if TYPE_CHECKING:
    from sqlalchemy import Connection


def put(tx: Connection, body: bytes) -> bytes:
    """Keep `body` for ever, and give its digest; the same bytes twice are one blob."""
    digest = hashlib.sha256(body).digest()
    tx.execute(insert(BLOBS).values(digest=digest, body=body).on_conflict_do_nothing())
    return digest


def get(tx: Connection, digest: bytes) -> bytes | None:
    """The bytes with this digest; None if they are not here."""
    return tx.execute(select(BLOBS.c.body).where(BLOBS.c.digest == digest)).scalar()
