"""The ledger as rows: what its tables promise, read once and never written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final

from .sqlite import misfits, read, rows


@dataclass(frozen=True)
class Federation:
    """One federation and its plan."""

    federation: str
    epoch: int
    plan_digest: bytes
    plan: bytes
    model_digest: bytes
    halted: str | None
    halted_at: int | None


@dataclass(frozen=True)
class ServerKey:
    """A public key of the federation, by its role."""

    federation: str
    role: str
    public_key: bytes


@dataclass(frozen=True)
class Device:
    """An enrolled device."""

    federation: str
    device: str
    public_key: bytes
    identity: bytes


@dataclass(frozen=True)
class Window:
    """A window, as it stands."""

    federation: str
    number: int
    state: str
    body: bytes
    base_version: int
    opened_at: int
    deadline: int
    ended_at: int | None
    version: int | None


@dataclass(frozen=True)
class Update:
    """An admitted update, and how it ended if it has."""

    id: bytes
    federation: str
    device: str
    named_window: int
    window: int | None
    staleness: int
    weight: int
    sealed: bytes
    outcome: str
    reason: str | None
    version: int | None
    receipt: bytes | None
    ended_at: int | None


@dataclass(frozen=True)
class Budget:
    """What a device has lost and may lose yet, over all its federations."""

    device: str
    settled: int
    reserved: int


@dataclass(frozen=True)
class Charge:
    """What one update costs its device, in 2^-32 of μ²."""

    update: bytes
    federation: str
    device: str
    window: int
    loss: int
    state: str
    version: int | None


@dataclass(frozen=True)
class Release:
    """A release, as it was made."""

    federation: str
    version: int
    window: int
    manifest: bytes
    manifest_digest: bytes
    base_digest: bytes
    model_digest: bytes
    model_size: int
    total_digest: bytes
    optimizer_digest: bytes | None
    optimizer_size: int
    sigma: int
    members: int
    arrived: int


@dataclass(frozen=True)
class Blob:
    """A blob: its name, what it hashes to, its size."""

    digest: bytes
    actual: bytes
    size: int


@dataclass(frozen=True)
class Delivery:
    """How many deliveries of one kind were counted."""

    federation: str
    kind: str
    count: int


@dataclass(frozen=True)
class Act:
    """A row of the audit log."""

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
class Lease:
    """Who may write, since which epoch."""

    name: str
    epoch: int


@dataclass(frozen=True)
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
        return Ledger(
            federations=rows(line, "federations", Federation),
            server_keys=rows(line, "server_keys", ServerKey),
            devices=rows(line, "devices", Device),
            windows=rows(line, "windows", Window),
            updates=rows(line, "updates", Update),
            budgets=rows(line, "budgets", Budget),
            charges=rows(line, "charges", Charge),
            releases=rows(line, "releases", Release),
            blobs=tuple(_blobs(line)),
            deliveries=rows(line, "deliveries", Delivery),
            audit=tuple(sorted(rows(line, "audit", Act), key=lambda act: act.seq)),
            leases=rows(line, "leases", Lease),
            misfits=tuple(_misfits(line)),
        )


def _blobs(line: Connection) -> Iterator[Blob]:
    """Blobs without their content: models are large."""
    for digest, body in line.execute("SELECT digest, body FROM blobs"):
        if isinstance(digest, bytes) and isinstance(body, bytes):
            yield Blob(digest, hashlib.sha256(body).digest(), len(body))


def _misfits(line: Connection) -> Iterator[str]:
    for table, kind in _TABLES.items():
        yield from misfits(line, table, kind)


_TABLES: Final[Mapping[str, type[Any]]] = {
    "federations": Federation,
    "server_keys": ServerKey,
    "devices": Device,
    "windows": Window,
    "updates": Update,
    "budgets": Budget,
    "charges": Charge,
    "releases": Release,
    "deliveries": Delivery,
    "audit": Act,
    "leases": Lease,
}
