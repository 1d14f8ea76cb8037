"""Open a window whenever enough devices are there, and invite its cohort.

The selector asks; the ledger opens. Between the two it asks again now and then, which opens nothing twice. It counts
presence and nothing else, so what devices send cannot steer who is invited.

In a buffered federation as many devices as the plan invites are kept at work, whichever windows they are at work for: a
window opens with a cohort that takes the places of those who have sent their update, declined or gone. Nobody who is at
work is invited anew. A cohort is whole and in the ledger when its window opens, so a place that becomes free while a
window is open is taken in the next one.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from mizzle.envelope import Purpose, seal
from mizzle.errors import Misbehaved
from mizzle.messages import Answer, Closed, Decline, Exhausted, Halt, Invitation, Opening, Presence, Window
from mizzle.misbehaviour import asked
from mizzle.moves import Ground, Moved, Tick, Told
from mizzle.registry import plug_in
from mizzle.vocabulary import DeviceId, Instant, WindowNumber

if TYPE_CHECKING:
    from mizzle.plugins import Policy

ASK_AGAIN_MS: Final = 5_000


class State(msgspec.Struct, frozen=True):
    """Who is there, and where the windows stand.

    `ended` is the newest window that the ledger has closed. While `window` is None, `waiting_since` is the first tick
    without one, and `asked_at` the last at which the ledger was asked for the next. Once `halted`, it is asked no more.
    The `exhausted` have no budget left: they are asked for only where the others are too few, for the ledger to see.

    `at_work`, in a buffered federation alone, are those who are waited for: the ledger says so of each window's end.
    The `excused` declined or went away since they were last invited, which the ledger does not know.
    """

    present: set[DeviceId] = set()
    exhausted: set[DeviceId] = set()
    ended: WindowNumber = 0
    window: Window | None = None
    waiting_since: Instant | None = None
    asked_at: Instant | None = None
    halted: bool = False
    at_work: set[DeviceId] = set()
    excused: set[DeviceId] = set()


def begin(ground: Ground) -> State:
    """Nobody is known to be there; the ledger's facts will say whether a window is open.

    Raises:
        Misconfigured: the plan names a policy that is not here.
    """
    _policy(ground)
    return State()


def step(ground: Ground, state: State, event: Told | Tick) -> Moved[State]:
    """Who is there after `event`, the opening to ask for, and the invitations to send."""
    match event:
        case Told(Presence(device=device, online=online)):
            return _seen(ground, state, device, online=online)
        case Told(Window() as window) if window.number > _newest(state):
            opened = _replaced(_at_work(ground, state, window), window=window, waiting_since=None)
            return Moved(opened, said=tuple(_invited(ground, window, device) for device in window.cohort))
        case Told(Closed() as closed):
            return Moved(_closed(state, closed))
        case Told(Decline(device=device)) if ground.plan.window.is_buffered:
            return Moved(_excused(state, device))
        case Told(Exhausted(devices=devices)) if not state.exhausted.issuperset(devices):
            return Moved(_replaced(state, exhausted=state.exhausted.union(devices), asked_at=None))
        case Told(Halt()):
            return Moved(_replaced(state, halted=True))
        case Tick(now=now, entropy=entropy) if state.window is None and not state.halted:
            return _waited(ground, state, now, entropy)
        case _:  # a decline in rounds, or a window heard again
            return Moved(state)


def _seen(ground: Ground, state: State, device: str, *, online: bool) -> Moved[State]:
    """The state with the device in it, or not; who comes back into an open window is invited again."""
    if online == (device in state.present):
        return Moved(state)
    moved = _replaced(state, present=state.present ^ {device})
    if not online and ground.plan.window.is_buffered:
        return Moved(_excused(moved, device))
    if online and state.window is not None and device in state.window.cohort:
        return Moved(moved, said=(_invited(ground, state.window, device),))
    return Moved(moved)


def _newest(state: State) -> int:
    return max(state.ended, state.window.number if state.window else 0)


def _at_work(ground: Ground, state: State, window: Window) -> State:
    """The state with a window's cohort at work."""
    if not ground.plan.window.is_buffered:
        return state
    return _replaced(state, at_work=state.at_work.union(window.cohort), excused=state.excused.difference(window.cohort))


def _excused(state: State, device: str) -> State:
    """The state in which a device is waited for no longer, if it was; what it sends later counts all the same."""
    if device not in state.at_work:
        return state
    return _replaced(state, at_work=state.at_work - {device}, excused=state.excused | {device})


def _closed(state: State, closed: Closed) -> State:
    """The state once a window has ended; the ledger also says so when it is asked for a wrong one, or by too few.

    Where that is no news it is asked again in its time, and not at once: it would say the same.
    """
    window = state.window if state.window and state.window.number > closed.window else None
    moved = _replaced(state, ended=max(state.ended, closed.window), window=window)
    if closed.window >= state.ended and window is None:
        moved = _replaced(moved, at_work=set(closed.awaited) - state.excused)
    return state if moved == state else _replaced(moved, asked_at=None)


def _waited(ground: Ground, state: State, now: int, entropy: bytes) -> Moved[State]:
    # A clock that was set back would wait for what it says to come again: from then on both count anew.
    since = now if state.waiting_since is None else min(now, state.waiting_since)
    state = _replaced(state, waiting_since=since)
    is_asked = state.asked_at is not None and 0 <= now - state.asked_at <= ASK_AGAIN_MS
    if is_asked or not _is_enough(ground, len(state.present | state.at_work), now - since):
        return Moved(state)
    asking = _replaced(state, asked_at=now)
    try:
        cohort = _cohort(ground, state, entropy)
    except Misbehaved as misbehaved:  # everything else goes on; the policy is asked again when the ledger would be
        return Moved(asking, noted=(f"no window opens: {misbehaved}",))
    return Moved(asking, booked=(Opening(after=state.ended, cohort=cohort, seed=_part(entropy, b"seed"), at=now),))


def _is_enough(ground: Ground, present: int, waited_ms: int) -> bool:
    """Whether to open now: after the pause with all that are invited, with a quorum after as long as a window lasts."""
    window = ground.plan.window
    if waited_ms < window.pause_s * 1000:
        return False
    return present >= window.invited or (present >= window.quorum and waited_ms >= window.deadline_s * 1000)


def _cohort(ground: Ground, state: State, entropy: bytes) -> tuple[str, ...]:
    """Whom the policy chooses from those not at work, and who can pay if they are enough; nobody if none is due.

    Raises:
        Misbehaved: it raised, or gave something else than different devices that are there, at most as many as asked.
    """
    idle = state.present - state.at_work
    able, most = idle - state.exhausted, ground.plan.window.invited - len(state.at_work)
    there = able if len(able) + len(state.at_work) >= ground.plan.window.quorum else idle
    if most <= 0 or not there:
        return ()
    who = f"policy {ground.plan.select.name!r}"
    chosen: object = asked(who, _policy(ground).choose, sorted(there), most, _part(entropy, b"cohort"))
    if not isinstance(chosen, tuple | list):
        raise Misbehaved(f"{who} gave a {type(chosen).__name__}, wanted the names of devices")
    known = {device for device in chosen if isinstance(device, str) and device in there}
    if len(chosen) != len(known) or len(known) > most:
        raise Misbehaved(
            f"{who} chose {len(chosen)}, among them {len(known)} different ones of {len(there)}; wanted {most}"
        )
    return tuple(chosen)


def _policy(ground: Ground) -> Policy:
    policy: Policy = plug_in("services.selector.policies", ground.plan.select)
    return policy


def _part(entropy: bytes, use: bytes) -> bytes:
    """32 bytes for one use: the seed is public and tells nothing about the choice of the cohort."""
    return hashlib.sha256(b"mizzle/1/" + use + b"\0" + entropy).digest()


def _invited(ground: Ground, window: Window, device: str) -> Answer:
    """The sealed invitation: with the window's deadline as its counter, the same bytes however often it is said."""
    invitation = Invitation(
        federation=ground.plan.federation,
        device=device,
        window=window.number,
        base=window.base,
        plan=ground.plan.digest,
        epoch=ground.epoch,
        deadline=window.deadline,
        seed=window.seed,
        bound=window.bound,
    )
    sealed = seal(invitation, Purpose.INVITATION, ground.signer, ground.epoch, window.deadline)
    return Answer(device=device, kind="invitation", sealed=sealed)


def _replaced(state: State, **changes: object) -> State:
    return msgspec.structs.replace(state, **changes)
