"""Whether a candidate may be released: in its place, and exactly what its signed manifest and the plan say."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from mizzle import manifest
from mizzle.errors import Unreadable
from services.ledger import federations

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mizzle.manifest import Manifest
    from mizzle.messages import Aggregate, Candidate, Release, Window
    from services.privacy_accountant.page import Page


def misplaced(page: Page, window: Window, latest: Release | None, candidate: Candidate) -> str | None:
    """Why the candidate does not follow the newest release; None if it does. Another one for its window may come."""
    release, aggregate = candidate.release, candidate.aggregate
    following = max(latest.version if latest else 0, window.base.version) + 1
    if release.version != following or release.window != aggregate.window:
        return f"it is version {release.version} of window {release.window}, wanted {following} of {aggregate.window}"
    if aggregate.base != window.base:
        return f"it was made from version {aggregate.base.version}, its window is based on {window.base.version}"
    keys = [key.public_key for key in federations.server_keys(page.tx, page.federation) if key.role == "release"]
    try:
        said = manifest.authentic(release.manifest, keys, page.federation)
    except Unreadable as error:
        return str(error)
    previous = latest.manifest_digest if latest else None
    return None if _agrees(page, said, candidate, previous) else "its manifest says something else than the candidate"


def flaw(
    page: Page, window: Window, candidate: Candidate, attached: Mapping[bytes, bytes], crowd: Collection[str]
) -> str | None:
    """Why the candidate must never be released: too small a crowd, too little noise, or bytes that are lost.

    The `crowd` are the devices that its members are of.
    """
    aggregate, least = candidate.aggregate, page.plan.privacy.minimum_crowd
    if len(crowd) < least:
        return f"its members are of {len(crowd)} devices, the minimum crowd is {least}"
    planned = page.terms.mechanism.sigma(window.weight_cap, window.bound)
    if aggregate.sigma < planned:
        return f"its noise has σ = {aggregate.sigma}, the plan promises {planned}"
    return _lost(aggregate, attached)


def _lost(aggregate: Aggregate, attached: Mapping[bytes, bytes]) -> str | None:
    for blob in (aggregate.total, aggregate.model, aggregate.optimizer):
        body = attached.get(blob.digest) if blob else None
        if blob and (body is None or hashlib.sha256(body).digest() != blob.digest or len(body) != blob.size):
            return f"the bytes of blob {blob.digest.hex()} are lost"
    return None


def _agrees(page: Page, said: Manifest, candidate: Candidate, previous: bytes | None) -> bool:
    release, aggregate = candidate.release, candidate.aggregate
    return (
        (said.version, said.window, said.plan) == (release.version, release.window, page.plan.digest.hex())
        and (said.model.digest, said.model.size) == (release.model.digest.hex(), release.model.size)
        and said.previous == (previous.hex() if previous else None)
        and release.manifest_digest == hashlib.sha256(release.manifest).digest()
        and (release.model, release.optimizer) == (aggregate.model, aggregate.optimizer)
    )
