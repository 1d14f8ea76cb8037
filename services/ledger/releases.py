"""Releases: what left the federation, as it was published, and what it was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from mizzle.messages import BlobRef, ModelRef, Release, Resumption
from services.ledger import restorations
from services.ledger.tables import RELEASES

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mizzle.messages import Candidate, Window
    from mizzle.plan import Plan


def latest(tx: Connection, federation: str) -> Release | None:
    """The newest release; None before the first."""
    return next(iter(newest(tx, federation, 1)), None)


def newest(tx: Connection, federation: str, most: int) -> list[Release]:
    """The newest releases, at most so many, newest last."""
    ours = select(RELEASES).where(RELEASES.c.federation == federation)
    rows = tx.execute(ours.order_by(RELEASES.c.version.desc()).limit(most)).all()
    return [_release(row) for row in reversed(rows)]


def find(tx: Connection, federation: str, version: int) -> Release:
    """The release with this version; there is one."""
    wanted = select(RELEASES).where(RELEASES.c.federation == federation, RELEASES.c.version == version)
    return _release(tx.execute(wanted).one())


def next_base(tx: Connection, federation: str, plan: Plan) -> ModelRef:
    """The model that the next window starts from: the newest release, or the plan's own before the first.

    In a ledger that was restored it goes on under a version that nobody has seen, if releases were lost.
    """
    release, restored = latest(tx, federation), restorations.newest(tx, federation)
    version = max(release.version if release else 0, (restored.base_version if restored else None) or 0)
    model = release.model if release else plan.model
    return ModelRef(version=version, digest=model.digest, size=model.size)


def resumption(tx: Connection, federation: str, window: Window) -> Resumption | None:
    """Under which version the newest release goes on, where the window's base has another one: of a restored ledger."""
    release = latest(tx, federation)
    if window.base.version <= (release.version if release else 0):
        return None
    return Resumption(version=window.base.version, release=release)


def insert_new(tx: Connection, federation: str, candidate: Candidate, at: int) -> None:
    """Write a release, and the figures that an auditor rebuilds it from."""
    release, aggregate = candidate.release, candidate.aggregate
    optimizer = release.optimizer
    row = {
        "version": release.version,
        "window": release.window,
        "manifest": release.manifest,
        "manifest_digest": release.manifest_digest,
        "base_digest": aggregate.base.digest,
        "model_digest": release.model.digest,
        "model_size": release.model.size,
        "total_digest": aggregate.total.digest,
        "optimizer_digest": optimizer.digest if optimizer else None,
        "optimizer_size": optimizer.size if optimizer else 0,
        "noise_key": aggregate.noise_key,
        "sigma": aggregate.sigma,
        "members": len(aggregate.members),
        "arrived": aggregate.arrived,
        "released_at": at,
    }
    tx.execute(insert(RELEASES).values(federation=federation, **row))


def _release(row: Any) -> Release:  # noqa: ANN401  # a row of SQLAlchemy's
    optimizer = BlobRef(digest=row.optimizer_digest, size=row.optimizer_size) if row.optimizer_digest else None
    return Release(
        version=row.version,
        window=row.window,
        manifest=row.manifest,
        manifest_digest=row.manifest_digest,
        model=BlobRef(digest=row.model_digest, size=row.model_size),
        optimizer=optimizer,
    )
