"""What is written on disk: the ledger's rows and the devices' outboxes, read as they are and judged elsewhere."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar

Row = TypeVar("Row")


@dataclass(frozen=True)
class Federation:
    """The one federation of the ledger."""

    federation: str
    plan: bytes


@dataclass(frozen=True)
class Window:
    """A row of `windows`."""

    number: int
    state: str
    body: bytes
    ended_at: int | None
    version: int | None


@dataclass(frozen=True)
class Update:
    """A row of `updates`."""

    id: bytes
    device: str
    named_window: int
    window: int | None
    weight: int
    sealed: bytes
    admitted_at: int
    outcome: str
    reason: str | None
    version: int | None
    receipt: bytes | None


@dataclass(frozen=True)
class Charge:
    """A row of `charges`."""

    update: bytes
    device: str
    loss: int
    state: str
    version: int | None


@dataclass(frozen=True)
class Budget:
    """A row of `budgets`."""

    device: str
    settled: int
    reserved: int


@dataclass(frozen=True)
class Release:
    """A row of `releases`."""

    version: int
    window: int
    manifest: bytes
    manifest_digest: bytes
    model_digest: bytes
    sigma: int
    members: int


@dataclass(frozen=True)
class Audit:
    """A row of `audit`."""

    seq: int
    federation: str
    at: int
    actor: str
    action: str
    subject: str
    body: str
    previous: bytes
    hash: bytes


@dataclass(frozen=True)
class Ledger:
    """A ledger's rows; `blobs` names those whose bytes are what their digest says."""

    federation: Federation
    windows: dict[int, Window]
    updates: dict[bytes, Update]
    charges: dict[bytes, Charge]
    budgets: dict[str, Budget]
    releases: dict[int, Release]
    audit: tuple[Audit, ...]
    deliveries: dict[str, int]
    server_keys: dict[str, bytes]
    device_keys: dict[str, bytes]
    blobs: frozenset[bytes]


@dataclass(frozen=True)
class Kept:
    """An update in a device's outbox, or the receipt in its place."""

    device: str
    id: bytes
    sealed: bytes


@dataclass(frozen=True)
class Outboxes:
    """What the devices hold: receipts, and updates that still wait for theirs."""

    receipts: tuple[Kept, ...]
    waiting: tuple[Kept, ...]


def read_ledger(path: Path) -> Ledger:
    """The rows of the ledger in the SQLite file `path`; every row of every table is held in memory."""
    with closing(_connected(path)) as store:
        return Ledger(
            federation=_rows(store, "federations", Federation)[0],
            windows={row.number: row for row in _rows(store, "windows", Window)},
            updates={row.id: row for row in _rows(store, "updates", Update)},
            charges={row.update: row for row in _rows(store, "charges", Charge)},
            budgets={row.device: row for row in _rows(store, "budgets", Budget)},
            releases={row.version: row for row in sorted(_rows(store, "releases", Release), key=lambda r: r.version)},
            audit=tuple(sorted(_rows(store, "audit", Audit), key=lambda row: row.seq)),
            deliveries=dict(store.execute("SELECT kind, count FROM deliveries").fetchall()),
            server_keys=dict(store.execute("SELECT role, public_key FROM server_keys").fetchall()),
            device_keys=dict(store.execute("SELECT device, public_key FROM devices").fetchall()),
            blobs=frozenset(
                digest for digest, body in store.execute("SELECT digest, body FROM blobs") if _is(digest, body)
            ),
        )


def read_outboxes(homes: Path) -> Outboxes:
    """The outboxes in the folders below `homes`, each named for its device."""
    receipts: list[Kept] = []
    waiting: list[Kept] = []
    for path in sorted(homes.glob(f"*/{_OUTBOX}")):
        with closing(_connected(path)) as store:
            for table, found in (("receipts", receipts), ("waiting", waiting)):
                query = f"SELECT id, sealed FROM {table} ORDER BY number"  # noqa: S608  # two names, both above
                found.extend(Kept(path.parent.name, *row) for row in store.execute(query))
    return Outboxes(tuple(receipts), tuple(waiting))


_OUTBOX: Final = "outbox.db"


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def _rows(store: sqlite3.Connection, table: str, kind: type[Row]) -> list[Row]:
    """Every row of `table`, its columns those that the dataclass `kind` names."""
    record: Any = kind
    columns = ", ".join(f'"{field.name}"' for field in fields(record))
    return [record(*row) for row in store.execute(f"SELECT {columns} FROM {table}")]  # noqa: S608  # our own names


def _is(digest: bytes, body: bytes) -> bool:
    return hashlib.sha256(body).digest() == digest
