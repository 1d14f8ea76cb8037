"""What a device works on: from an invitation over plan and model to a trained update, or to a reason why not."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec

from mizzle import topics
from mizzle.blobs import Assembly
from mizzle.device.effects import Accept, Effect, Keep, Note, Subscribe, Train, Unsubscribe
from mizzle.device.fitness import unfit
from mizzle.device.speech import decline, seal
from mizzle.device.states import Fetching, Idle, Member, Newest, Training
from mizzle.envelope import Purpose, unseal
from mizzle.errors import Forged, Misconfigured, Outdated
from mizzle.messages import BlobRef, Invitation, Update
from mizzle.plan import Plan, from_canonical

if TYPE_CHECKING:
    from mizzle.device.events import Declined, Trained
    from mizzle.device.states import Moved, Session

_UNKNOWN_MS: Final = 60_000
"""How long a window is taken to last whose plan is not here yet."""


def invited(state: Session, invitation: Invitation) -> Moved:
    """Take up an invitation that was verified: at once, or behind the task that is being done.

    Raises:
        Outdated: its base model is older than one that we were invited to before.
    """
    window, version = invitation.window, invitation.base.version
    if version < state.newest.version:
        raise Outdated(f"a roll-back, refused: base version {version} where we had {state.newest.version}")
    if window <= state.newest.window:
        return state, (Note(f"invited to window {window} again, or late: the newest is {state.newest.window}"),)
    invitation = _in_our_time(state, invitation)
    state = replace(state, newest=Newest(window, version))
    accept = Accept(window, version)
    if isinstance(state.work, Training):
        return replace(state, work=replace(state.work, queued=invitation)), (accept,)
    state, unasked = without_fetching(state)
    state, begun = _take_up(state, invitation)
    return state, (accept, *unasked, *begun)


def _in_our_time(state: Session, invitation: Invitation) -> Invitation:
    """The invitation with a deadline that this device's clock can be held to.

    A deadline that has passed may be an invitation that came late, or a clock that is ahead: ours, and we would never
    train again, or the server's, which was put right meanwhile. So the window is taken to last from now on; what comes
    too late by it is folded or refused, with a receipt (ADR 21).
    """
    if state.now < invitation.deadline:
        return invitation
    plan = _known_plan(state)
    lasts = round(plan.window.deadline_s * 1000) if plan else _UNKNOWN_MS
    return msgspec.structs.replace(invitation, deadline=state.now + max(1, lasts))


def _known_plan(state: Session) -> Plan | None:
    """The plan, if this device has fetched it and can read it."""
    if not isinstance(state.belonging, Member):
        return None
    try:
        return from_canonical(state.blobs.get(state.belonging.identity.plan.digest, b""))
    except Misconfigured:
        return None


def _take_up(state: Session, invitation: Invitation) -> Moved:
    """Begin with what an idle device is invited to: decline, fetch what is missing, or train."""
    if reason := _hindrance(state, invitation):
        return decline(state, invitation.window, reason)
    # The sizes are signed, so a piece that claims another one never displaces the right ones.
    missing = {ref.digest: Assembly(ref.digest, ref.size, ref.size) for ref in _needed(state, invitation)}
    for digest in state.blobs:
        missing.pop(digest, None)
    if not missing:
        return _start(state, invitation)
    state = replace(state, work=Fetching(invitation, missing))
    return state, subscriptions(state)


def _hindrance(state: Session, invitation: Invitation) -> str | None:
    """Why this is not even begun."""
    bounds, held = state.me.bounds, sum(waiting.size for waiting in state.waiting)
    if state.now >= invitation.deadline:
        return "late"
    # A payload is at most about as long as the model: 8 bits a parameter against 32.
    if len(state.waiting) >= bounds.updates or held + invitation.base.size > bounds.size:
        return "outbox-full"
    return None


def _needed(state: Session, invitation: Invitation) -> tuple[BlobRef, BlobRef]:
    if not isinstance(state.belonging, Member):
        raise Forged("a stranger is invited to nothing")
    return state.belonging.identity.plan, BlobRef(digest=invitation.base.digest, size=invitation.base.size)


def piece(state: Session, digest: bytes, index: int, body: bytes) -> Moved:
    """Take a piece of the plan or the base model; with the last one, begin to train.

    Raises:
        Unreadable: it is no piece of this blob; or (`Forged`) the last, and the pieces do not hash to the blob's name.
    """
    topic_filter = topics.every_piece(state.me.federation, digest)
    if not isinstance(state.work, Fetching) or digest not in state.work.missing:
        return state, (Unsubscribe(topic_filter),)  # asked for in a former life, or before the task was given up
    invitation, missing = state.work.invitation, dict(state.work.missing)
    assembly = replace(missing[digest], found=dict(missing[digest].found))
    if (blob := assembly.add(index, body)) is None:
        return replace(state, work=Fetching(invitation, {**missing, digest: assembly})), ()
    del missing[digest]
    state = replace(state, blobs={**state.blobs, digest: blob}, work=Fetching(invitation, missing))
    state, begun = (state, ()) if missing else _start(state, invitation)
    return state, (Unsubscribe(topic_filter), *begun)


def _start(state: Session, invitation: Invitation) -> Moved:
    """Plan and model are there: train, unless the device is not fit for it."""
    plan_ref, base_ref = _needed(state, invitation)
    blobs = {ref.digest: state.blobs[ref.digest] for ref in (plan_ref, base_ref)}
    state = replace(state, blobs=blobs, work=Idle())
    try:
        plan = from_canonical(blobs[plan_ref.digest])
    except Misconfigured as error:
        state, said = decline(state, invitation.window, "unreadable-plan")
        return state, (Note(str(error)), *said)
    if reason := _hindrance(state, invitation) or _unfit(state, plan):
        return decline(state, invitation.window, reason)
    return replace(state, work=Training(invitation)), (Train(invitation, plan, blobs[base_ref.digest]),)


def _unfit(state: Session, plan: Plan) -> str | None:
    if plan.federation != state.me.federation:
        return "foreign-plan"
    return unfit(plan.train, state.condition)


def trained(state: Session, trained: Trained) -> Moved:
    """Seal an update, have it kept, and begin with what is queued."""
    work = state.work
    if not isinstance(work, Training) or work.invitation.window != trained.window:
        return state, (Note(f"an update of window {trained.window} that was not asked for is dropped"),)
    state, sealed = seal(state, _update(state, work.invitation, trained.payload), Purpose.UPDATE)
    kept = Keep(unseal(sealed).id, trained.window, sealed, trained.payload, trained.lost)
    state, begun = _next(state, work)
    return state, (kept, *begun)


def _update(state: Session, invitation: Invitation, payload: bytes) -> Update:
    nonce = hashlib.sha256(b"mizzle/1/nonce\0" + state.entropy + invitation.window.to_bytes(8, "big")).digest()
    return Update(
        federation=state.me.federation,
        device=state.me.device,
        window=invitation.window,
        base=invitation.base.digest,
        plan=invitation.plan,
        nonce=nonce[:16],
        payload=BlobRef(digest=hashlib.sha256(payload).digest(), size=len(payload)),
    )


def given_up(state: Session, declined: Declined) -> Moved:
    """Say why the task is not done, and begin with what is queued."""
    work, window = state.work, declined.window
    if not isinstance(work, Training) or work.invitation.window != window:
        return state, (Note(f"window {window} was declined ({declined.reason}) and not asked for"),)
    state, said = decline(state, window, declined.reason)
    state, begun = _next(state, work)
    return state, (*said, *begun)


def _next(state: Session, work: Training) -> Moved:
    """The task is over: what was queued is begun."""
    state = replace(state, work=Idle())
    return _take_up(state, work.queued) if work.queued else (state, ())


def without_fetching(state: Session) -> Moved:
    """Give up what is being fetched."""
    if not isinstance(state.work, Fetching):
        return state, ()
    unasked = (Unsubscribe(topics.every_piece(state.me.federation, digest)) for digest in state.work.missing)
    return replace(state, work=Idle()), tuple(unasked)


def subscriptions(state: Session) -> tuple[Effect, ...]:
    """Ask for what is to be fetched."""
    if not isinstance(state.work, Fetching):
        return ()
    return tuple(Subscribe(topics.every_piece(state.me.federation, digest)) for digest in state.work.missing)
