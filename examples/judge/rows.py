"""Rows of the ledger: who belongs, what was collected, what was made of it."""

from __future__ import annotations

from dataclasses import dataclass


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
    enrolled_at: int
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
