"""The ledger as a whole: what its tables promise, read once and never written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final

from .books import Act, Budget, Charge, Delivery, Lease, Memory, Past, Restoration, Surcharge
from .rows import Blob, Device, Federation, Release, ServerKey, Update, Window
from .sqlite import has, misfits, read, rows


@dataclass(frozen=True, eq=False)
class Ledger:
    """Everything that the ledger says, at one instant."""

    federations: tuple[Federation, ...]
    server_keys: tuple[ServerKey, ...]
    devices: tuple[Device, ...]
    windows: tuple[Window, ...]
    updates: tuple[Update, ...]
    budgets: tuple[Budget, ...]
    charges: tuple[Charge, ...]
    releases: tuple[Release, ...]
    blobs: tuple[Blob, ...]
    deliveries: tuple[Delivery, ...]
    audit: tuple[Act, ...]
    leases: tuple[Lease, ...]
    past: tuple[Past, ...]
    memories: tuple[Memory, ...]
    restorations: tuple[Restoration, ...]
    surcharges: tuple[Surcharge, ...]
    misfits: tuple[str, ...]  # columns in which a row has a value of another type; such a row is left out

    @cached_property
    def federation_of(self) -> Mapping[str, Federation]:
        """Each federation by its name."""
        return {one.federation: one for one in self.federations}

    @cached_property
    def server_key_of(self) -> Mapping[tuple[str, str], bytes]:
        """Each federation's keys by role."""
        return {(one.federation, one.role): one.public_key for one in self.server_keys}

    @cached_property
    def device_of(self) -> Mapping[tuple[str, str], Device]:
        """Each member by federation and name."""
        return {(one.federation, one.device): one for one in self.devices}

    @cached_property
    def window_of(self) -> Mapping[tuple[str, int | None], Window]:
        """Each window by federation and number."""
        return {(one.federation, one.number): one for one in self.windows}

    @cached_property
    def update_of(self) -> Mapping[bytes, Update]:
        """Each update by its id."""
        return {one.id: one for one in self.updates}

    @cached_property
    def charge_of(self) -> Mapping[bytes, Charge]:
        """Each charge by the update that it is for."""
        return {one.update: one for one in self.charges}

    @cached_property
    def release_of(self) -> Mapping[tuple[str, int | None], Release]:
        """Each release by federation and version."""
        return {(one.federation, one.version): one for one in self.releases}

    @cached_property
    def blob_of(self) -> Mapping[bytes, Blob]:
        """Each blob by its name."""
        return {one.digest: one for one in self.blobs}


def read_ledger(path: Path) -> Ledger:
    """The whole ledger in this file, of one instant."""
    with read(path) as line:
        tables = {field: rows(line, table, kind) for field, (table, kind) in _TABLES.items() if _is_there(line, field)}
        tables |= dict.fromkeys(_NEWER - tables.keys(), ())
        return Ledger(
            **tables | {"audit": tuple(sorted(tables["audit"], key=lambda act: act.seq))},
            blobs=tuple(_blobs(line)),
            misfits=tuple(_misfits(line)),
        )


def _is_there(line: Connection, field: str) -> bool:
    """Whether to read it: a table that every ledger has must be there."""
    return field not in _NEWER or has(line, _TABLES[field][0])


def _blobs(line: Connection) -> Iterator[Blob]:
    """Blobs without their content: models are large."""
    for digest, body in line.execute("SELECT digest, body FROM blobs"):
        if isinstance(digest, bytes) and isinstance(body, bytes):
            yield Blob(digest, hashlib.sha256(body).digest(), len(body))


def _misfits(line: Connection) -> Iterator[str]:
    for field, (table, kind) in _TABLES.items():
        if _is_there(line, field):
            yield from misfits(line, table, kind)


_TABLES: Final[Mapping[str, tuple[str, type[Any]]]] = {
    "federations": ("federations", Federation),
    "server_keys": ("server_keys", ServerKey),
    "devices": ("devices", Device),
    "windows": ("windows", Window),
    "updates": ("updates", Update),
    "budgets": ("budgets", Budget),
    "charges": ("charges", Charge),
    "releases": ("releases", Release),
    "deliveries": ("deliveries", Delivery),
    "audit": ("audit", Act),
    "leases": ("leases", Lease),
    "past": ("past_updates", Past),
    "memories": ("past_devices", Memory),
    "restorations": ("restorations", Restoration),
    "surcharges": ("surcharges", Surcharge),
}
_NEWER: Final = frozenset({"past", "memories", "restorations", "surcharges"})
"""What an earlier copy, made before there were these tables, need not have."""
