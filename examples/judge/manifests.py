"""The ledger's manifests: signed, chained, and saying what the rows say."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from .evidence import Evidence
from .finding import Finding, release_named
from .ledger import Ledger
from .manifest import enveloped, is_released_by
from .plan import rules_of, said_at
from .price import exceeds
from .restored import gaps
from .rows import Release


def judge(evidence: Evidence) -> Iterator[Finding]:
    """What is wrong with manifests."""
    for release in evidence.ledger.releases:
        yield from _of(evidence.ledger, release)


def _of(ledger: Ledger, release: Release) -> Iterator[Finding]:
    named = release_named(release.federation, release.version)
    one = enveloped(release.manifest)
    if one is None or not is_released_by(one, ledger.server_key_of.get((release.federation, "release"), b"")):
        yield Finding("manifest-forged", named, "Its manifest is not signed by the federation's release key.")
        return
    if hashlib.sha256(release.manifest).digest() != release.manifest_digest:
        yield Finding("manifest-differs", named, "Its manifest does not hash to manifest_digest.")
    wrong = [name for name, value in _promised(ledger, release).items() if said_at(one.manifest, name) != value]
    if wrong:
        yield Finding("manifest-differs", named, f"Its manifest has another {' and '.join(wrong)} than the ledger.")
    yield from _chain(ledger, release, one.manifest)
    yield from _epsilon(ledger, release, one.manifest)


def _promised(ledger: Ledger, release: Release) -> Mapping[str, object]:
    promised: dict[str, object] = {
        "federation": release.federation,
        "version": release.version,
        "window": release.window,
        "members": release.members,
        "model.digest": release.model_digest.hex(),
        "model.size": release.model_size,
    }
    federation = ledger.federation_of.get(release.federation)
    # The ledger keeps the newest plan alone; before a later epoch there was only one.
    return promised | ({"plan": federation.plan_digest.hex()} if federation and federation.epoch == 0 else {})


def _chain(ledger: Ledger, release: Release, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """By the rows' order, so that a missing version is one fault and not two."""
    ours = (one for one in ledger.releases if one.federation == release.federation and one.version < release.version)
    before = max(ours, key=lambda one: one.version, default=None)
    wanted = before.manifest_digest.hex() if before else None
    if manifest.get("previous") != wanted:
        said = f"Its manifest names {manifest.get('previous')} before it, the ledger has {wanted}."
        yield Finding("manifest-chain", release_named(release.federation, release.version), said)


def _epsilon(ledger: Ledger, release: Release, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    epsilon, delta = said_at(manifest, "privacy.epsilon"), said_at(manifest, "privacy.delta")
    if rules_of(ledger, release.federation).mechanism != "gaussian":
        return
    most = max(_losses(ledger, release).values(), default=0)
    stated = isinstance(epsilon, int | float) and isinstance(delta, int | float)
    if not stated or exceeds(float(str(epsilon)), float(str(delta)), most):
        said = f"It states ε = {epsilon} at δ = {delta}, and a device has lost more in this federation by then."
        yield Finding("epsilon-understated", release_named(release.federation, release.version), said)


def _losses(ledger: Ledger, release: Release) -> Mapping[str, int]:
    """What each device has lost in the releases of this federation up to this one, as far as the ledger says when.

    The oldest endings are cleaned up first: while a member of this release is there, all that were cleaned up ended
    before it.
    """
    found: dict[str, int] = defaultdict(int)
    for charge in ledger.charges:
        settled = charge.state == "settled" and charge.federation == release.federation
        if settled and charge.version is not None and charge.version <= release.version:
            found[charge.device] += charge.loss
    members = (row for row in ledger.updates if (row.federation, row.outcome) == (release.federation, "counted"))
    if any(row.version == release.version for row in members):
        for memory in ledger.memories:
            found[memory.device] += memory.settled if memory.federation == release.federation else 0
    gone = [gap.row.number for gap in gaps(ledger, release.federation) if gap.row.version < release.version]
    for one in ledger.surcharges:
        found[one.device] += one.loss if (one.federation, one.restoration in gone) == (release.federation, True) else 0
    return found
