"""A device's side of the conversation, with no socket, clock, disk or model: what it does about what it is told.

Whoever runs a session gives it events one at a time, a `Tick` before each, and does what it asks for, in order. What is
true in each of its states stands in `states.py`. What cannot be read or verified changes nothing and is noted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mizzle import topics
from mizzle.device import belief, enrol, speech, work
from mizzle.device.effects import Clear, Note, Remember
from mizzle.device.events import Cleared, Condition, Declined, Full, Kept, Stop, Trained
from mizzle.device.states import NOTHING_SEEN, Fetching, Me, Member, Moved, Newest, Session, Stranger, Waiting
from mizzle.errors import Outdated, Unreadable
from mizzle.messages import Identity
from mizzle.moves import Tick
from mizzle.transport.bus import Arrived, Connected, Disconnected, Sent

if TYPE_CHECKING:
    from mizzle.device.enrol import Token
    from mizzle.device.events import Event

_TAKEN: Final = frozenset({0x00, 0x10})  # success; success, and nobody listens just now


def begin(
    me: Me, rights: Token | Identity, counter: int, newest: Newest = NOTHING_SEEN, waiting: tuple[Waiting, ...] = ()
) -> Moved:
    """A session as a device wakes up: with what its outbox remembers, its line about to be opened.

    `counter` is the first number under which the key has never signed.
    """
    if isinstance(rights, Identity):
        return speech.opened(Session(me, Member(rights), counter, newest, waiting))
    stranger = Stranger(rights, enrol.sealed_enrolment(rights, me.key, counter))
    return speech.opened(Session(me, stranger, counter + 1, newest, waiting))


def step(state: Session, event: Event) -> Moved:
    """Where the session goes on `event`, and what it asks for."""
    match event:
        case Tick(now=now, entropy=entropy):
            return _later(replace(state, now=now, entropy=entropy))
        case Connected() | Disconnected() | Arrived() | Sent():
            return _line(state, event)
        case Kept() | Full() | Cleared():
            return _outbox(state, event)
        case Trained():
            return work.trained(state, event)
        case Declined():
            return work.given_up(state, event)
        case Condition():
            return _felt(state, event)
        case Stop():
            return speech.say_presence(state, online=False)


def _line(state: Session, event: Connected | Disconnected | Arrived | Sent) -> Moved:
    match event:
        case Connected():
            return _connected(replace(state, online=True))
        case Disconnected(why=why):
            return replace(state, online=False), (Note(f"the line is down: {why}"),)
        case Arrived(topic=topic, body=body):
            return _arrived(state, topic, body)
        case Sent(topic=topic, reason=reason) if reason not in _TAKEN:
            return state, (Note(f"the broker did not take what was said on {topic}: reason {reason:#x}"),)
        case Sent():
            return state, ()


def _outbox(state: Session, event: Kept | Full | Cleared) -> Moved:
    match event:
        case Kept(id=update, size=size):
            kept = replace(state, waiting=(*state.waiting, Waiting(update, size)))
            return speech.send(kept, frozenset({update}))
        case Full(window=window, why=why):
            state, said = speech.decline(state, window, "outbox-full")
            return state, (Note(f"the update of window {window} is lost: {why}"), *said)
        case Cleared(id=update):
            return replace(state, waiting=tuple(one for one in state.waiting if one.id != update)), ()


def _connected(state: Session) -> Moved:
    if isinstance(state.belonging, Stranger):
        return speech.enrol(state)
    state, present = speech.say_presence(state, online=True)
    fresh = tuple(replace(waiting, attempts=0, given=None) for waiting in state.waiting)
    state, sent = speech.send(replace(state, waiting=fresh), frozenset(waiting.id for waiting in fresh))
    # What the broker held for us may be gone with its session, and asking again is cheap.
    return state, (*present, *work.subscriptions(state), *sent)


def _later(state: Session) -> Moved:
    if isinstance(state.belonging, Stranger):
        is_due = state.online and speech.is_due(state.belonging.due, state.now)
        return speech.enrol(state) if is_due else (state, ())
    state, sent = speech.send(state, frozenset(one.id for one in state.waiting if speech.is_due(one.due, state.now)))
    if isinstance(state.work, Fetching) and state.work.invitation.deadline <= state.now:
        window = state.work.invitation.window
        state, unasked = work.without_fetching(state)
        state, said = speech.decline(state, window, "no-model")
        return state, (*sent, *unasked, *said)
    return state, sent


def _arrived(state: Session, topic: str, body: bytes) -> Moved:
    me = state.me
    try:
        if piece := topics.parse_blob(topic):
            return work.piece(state, *piece, body)
        if topic == topics.to(me.federation, me.device, "identity"):
            return _identified(state, body)
        if isinstance(state.belonging, Member):
            if topic == topics.to(me.federation, me.device, "invitation"):
                return work.invited(state, belief.invitation_in(body, state.belonging.identity))
            if topic == topics.to(me.federation, me.device, "receipt"):
                return _receipt(state, state.belonging, body)
            if topic == topics.to(me.federation, me.device, "want"):
                return speech.hinted(state, belief.hint_in(body))
    except Unreadable as error:
        return state, (Note(f"{topic}: {error}"),)
    return state, (Note(f"{topic}: nothing that this device knows"),)


def _identified(state: Session, body: bytes) -> Moved:
    me, belonging = state.me, state.belonging
    ours = (
        (belonging.token.receipt_key,) if isinstance(belonging, Stranger) else belief.receipt_keys(belonging.identity)
    )
    identity = enrol.identity_in(body, ours, me.federation, me.device, me.key.public_key)
    if isinstance(belonging, Member):
        if identity == belonging.identity:
            return state, ()
        if identity.epoch < belonging.identity.epoch:
            raise Outdated(f"an identity of epoch {identity.epoch}, ours is of epoch {belonging.identity.epoch}")
    state, unasked = work.without_fetching(state)
    state, opened = speech.opened(replace(state, belonging=Member(identity)))
    return state, (Remember(body), *opened, *unasked)


def _receipt(state: Session, member: Member, body: bytes) -> Moved:
    receipt = belief.receipt_in(body, member.identity)
    if receipt.update not in {waiting.id for waiting in state.waiting}:
        return state, (Note(f"a receipt for update {receipt.update.hex()[:16]}, which does not wait"),)
    return state, (Clear(receipt.update, body),)


def _felt(state: Session, condition: Condition) -> Moved:
    if condition == state.condition:
        return state, ()
    return speech.say_presence(replace(state, condition=condition), online=True)
