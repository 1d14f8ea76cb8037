"""Blobs: each hashes to its name, and what a release names is there at the size that it says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from .evidence import Evidence
from .finding import Finding, release_named
from .ledger import Ledger
from .plan import rules_of
from .rows import Release


def judge(evidence: Evidence) -> Iterator[Finding]:
    """What is wrong with blobs and plans."""
    ledger = evidence.ledger
    for blob in ledger.blobs:
        if blob.actual != blob.digest:
            yield Finding("blob-forged", f"blob {blob.digest.hex()}", f"It hashes to {blob.actual.hex()}.")
    for federation in ledger.federations:
        if hashlib.sha256(federation.plan).digest() != federation.plan_digest:
            yield Finding("plan-forged", federation.federation, "Its plan does not hash to plan_digest.")
        if federation.model_digest not in ledger.blob_of:
            yield Finding("blob-missing", federation.federation, "The model that it began with is not kept.")
    for release in ledger.releases:
        yield from _of(ledger, release)


def _of(ledger: Ledger, release: Release) -> Iterator[Finding]:
    named = release_named(release.federation, release.version)
    for what, digest, size in _wanted(ledger, release):
        blob = ledger.blob_of.get(digest)
        if blob is None:
            yield Finding("blob-missing", named, f"Its {what} is not kept.")
        elif size not in {None, blob.size}:
            yield Finding("blob-size", named, f"Its {what} has {blob.size} bytes and not {size}.")


def _wanted(ledger: Ledger, release: Release) -> Iterator[tuple[str, bytes, int | None]]:
    parameters = rules_of(ledger, release.federation).parameters
    yield "model", release.model_digest, release.model_size
    yield "total", release.total_digest, None if parameters is None else 8 * parameters
    if release.optimizer_digest is not None:
        yield "optimizer", release.optimizer_digest, release.optimizer_size
