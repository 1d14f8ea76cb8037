"""Sign a manifest for every aggregate, and ask the ledger to release it.

Each manifest names the one before it, so an aggregate waits until the release that it was made from has been heard,
and for the tick that dates it. What the releaser signs is a candidate: it is a release once it is in the ledger.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from mizzle import accounting, manifest
from mizzle.manifest import Epsilon, Manifest, ModelFile, Privacy
from mizzle.messages import Aggregate, Candidate, Release, Resumption
from mizzle.moves import Ground, Moved, Tick, Told
from mizzle.terms import mechanism_of
from mizzle.vocabulary import Digest, Instant, Version, WindowNumber

_HOUR_MS: Final = 3_600_000


class Last(msgspec.Struct, frozen=True):
    """What the next manifest must know of the newest release; before the first there is no digest."""

    version: Version = 0
    manifest_digest: Digest | None = None
    epsilon: Epsilon = 0.0
    issued: Instant = 0


class State(msgspec.Struct, frozen=True):
    """The newest release, and the aggregates by window that wait to follow it."""

    last: Last = Last()
    waiting: dict[WindowNumber, Aggregate] = {}


def begin(ground: Ground) -> State:
    """Nothing waits; the ledger's facts will say what the newest release is."""
    del ground
    return State()


def step(ground: Ground, state: State, event: Told | Tick) -> Moved[State]:
    """What waits after `event`, and the candidates that a tick makes of it."""
    match event:
        case Told(Aggregate() as aggregate) if aggregate.base.version >= state.last.version:
            return Moved(State(state.last, {**state.waiting, aggregate.window: aggregate}))
        case Told(Release() as release) if release.version > state.last.version:
            return Moved(_after(ground, state, release))
        case Told(Resumption() as resumption):
            return Moved(_resumed(ground, state, resumption))
        case Tick(now=now) if state.waiting:
            return _candidates(ground, state, now)
        case _:  # a release heard again, or an aggregate whose place is taken
            return Moved(state)


def _after(ground: Ground, state: State, release: Release) -> State:
    """The state once `release` is the newest; what was made from older models has lost its place."""
    said = manifest.authentic(release.manifest, [ground.signer.public_key], ground.plan.federation)
    last = Last(release.version, release.manifest_digest, said.privacy.epsilon or 0.0, manifest.instant(said.issued))
    waiting = {number: one for number, one in state.waiting.items() if one.base.version >= last.version}
    return State(last, waiting)


def _resumed(ground: Ground, state: State, resumption: Resumption) -> State:
    """The state once the newest release of a restored ledger goes on under its version; said again, it is the same.

    What was remembered of releases that the ledger does not know is forgotten.
    """
    if resumption.version < state.last.version:
        return state
    release = resumption.release
    if release is None:
        return State(Last(resumption.version), state.waiting)
    said = manifest.authentic(release.manifest, [ground.signer.public_key], ground.plan.federation)
    last = Last(resumption.version, release.manifest_digest, said.privacy.epsilon or 0.0)
    return State(last, state.waiting)


def _candidates(ground: Ground, state: State, now: int) -> Moved[State]:
    ready = [one for one in state.waiting.values() if one.base.version == state.last.version]
    waiting = {number: one for number, one in state.waiting.items() if one not in ready}
    booked = tuple(Candidate(release=_signed(ground, state.last, one, now), aggregate=one) for one in ready)
    return Moved(State(state.last, waiting), booked=booked)


def _signed(ground: Ground, last: Last, aggregate: Aggregate, now: int) -> Release:
    """The release of `aggregate` that follows `last`, issued at `now`: the same bytes for the same arguments.

    It is never issued before the one that it follows, whatever clock is set back in between (ADR 21).
    """
    said = _manifest(ground, last, aggregate, max(now, last.issued))
    signed = manifest.sign(said, ground.signer.sign, ground.signer.public_key)
    return Release(
        version=said.version,
        window=said.window,
        manifest=signed,
        manifest_digest=hashlib.sha256(signed).digest(),
        model=aggregate.model,
        optimizer=aggregate.optimizer,
    )


def _manifest(ground: Ground, last: Last, aggregate: Aggregate, now: int) -> Manifest:
    plan = ground.plan
    return Manifest(
        schema=1,
        federation=plan.federation,
        version=aggregate.base.version + 1,
        window=aggregate.window,
        members=len(aggregate.members),
        model=ModelFile(digest=aggregate.model.digest.hex(), size=aggregate.model.size, format="safetensors"),
        plan=plan.digest.hex(),
        previous=last.manifest_digest.hex() if last.manifest_digest else None,
        issued=manifest.moment(now),
        expires=manifest.moment(now + round(plan.release.expires_h * _HOUR_MS)),
        privacy=_privacy(ground, last, aggregate),
    )


def _privacy(ground: Ground, last: Last, aggregate: Aggregate) -> Privacy:
    """The loss that was claimed before or what has been spent by now, whichever is more.

    What was reserved may be given back; a loss that was once shown never shrinks.
    """
    delta = ground.plan.privacy.delta
    if not mechanism_of(ground.plan).claims:
        return Privacy(epsilon=None, delta=delta, sentence=accounting.NOTHING_CLAIMED)
    epsilon = max(last.epsilon, accounting.epsilon(aggregate.spent, delta))
    return Privacy(epsilon=epsilon, delta=delta, sentence=accounting.sentence(epsilon, delta))
