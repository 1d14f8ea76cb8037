"""What a device says: its enrolment, its presence, that it declines, and what waits in its outbox."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mizzle import envelope, topics
from mizzle.device.effects import Note, Open, Probe, Publish, Send, Subscribe
from mizzle.device.states import Member, Stranger
from mizzle.envelope import Purpose
from mizzle.messages import Decline, Presence, Want
from mizzle.parts import CHUNK, named_in
from mizzle.topics import Up
from mizzle.transport.bus import Will

if TYPE_CHECKING:
    from mizzle.device.effects import Effect
    from mizzle.device.states import Moved, Session, Waiting
    from mizzle.messages import Hint, Message

UPDATE_RETRY_MS: Final = (10_000, 600_000)
"""How long an update waits about for its receipt before it is said again: the first time, and at most."""

ENROLMENT_RETRY_MS: Final = (2_000, 60_000)
"""The same of an enrolment and its identity."""


def opened(state: Session) -> Moved:
    """Open the line; a member's last will says that the device is gone."""
    me, will = state.me, None
    if isinstance(state.belonging, Member):
        state, body = _presence(state, online=False)
        will = Will(topics.up(me.federation, me.device, Up.PRESENCE), body)
    return replace(state, online=False), (Open(will), Subscribe(topics.every_to(me.federation, me.device)))


def enrol(state: Session) -> Moved:
    """A stranger asks to belong, and will ask again."""
    me, stranger = state.me, state.belonging
    if not isinstance(stranger, Stranger):
        return state, ()
    due = state.now + _delay(state, ENROLMENT_RETRY_MS, stranger.attempts, stranger.enrolment)
    asked = replace(stranger, attempts=stranger.attempts + 1, due=due)
    topic = topics.up(me.federation, me.device, Up.ENROL)
    return replace(state, belonging=asked), (Publish(topic, stranger.enrolment),)


def send(state: Session, updates: frozenset[bytes]) -> Moved:
    """Send these of the waiting updates or probe for them, oldest first, if the line is up."""
    if not state.online or not isinstance(state.belonging, Member):
        return state, ()
    waiting: list[Waiting] = []
    effects: list[Effect] = []
    behind = False
    for one in state.waiting:
        said = one
        if one.id in updates:
            said, effect = _said(state, one, behind=behind)
            effects.append(effect)
        waiting.append(said)
        behind = behind or (one.sent and _is_long(one))
    return replace(state, waiting=tuple(waiting)), tuple(effects)


def hinted(state: Session, hint: Hint) -> Moved:
    """What a hint leads to: the parts that it names are sent, unless they were since the last probe."""
    found = next((one for one in state.waiting if one.id == hint.update), None)
    if found is None or found.given is None:
        return state, (Note(f"a hint about update {hint.update.hex()[:16]}, which was not asked for"),)
    if not isinstance(hint, Want):
        return state, ()
    wanted = named_in(hint.parts) & ~found.given
    heard = replace(found, sent=True, given=found.given | wanted)
    return with_waiting(state, heard), (Send(found.id, wanted),) if wanted else ()


def with_waiting(state: Session, changed: Waiting) -> Session:
    """The session in which this update waits as it is said here."""
    return replace(state, waiting=tuple(changed if one.id == changed.id else one for one in state.waiting))


def _said(state: Session, waiting: Waiting, *, behind: bool) -> tuple[Waiting, Effect]:
    """The update whole, if it never was sent; else a probe, however many nobody has answered.

    While nobody answers, nobody would take it either, and a gateway that comes back asks for whatever it lacks: also
    for all of it, where the first time was lost or refused by the broker.

    The gateway keeps one incomplete update of a device. So a long one that is `behind` another whose rest may still be
    wanted asks first, and is answered after it.
    """
    due = state.now + _delay(state, UPDATE_RETRY_MS, waiting.attempts, waiting.id)
    again = replace(waiting, attempts=waiting.attempts + 1, due=due)
    if waiting.sent or (behind and _is_long(waiting)):
        return replace(again, given=0), Probe(waiting.id)
    return replace(again, sent=True, given=None), Send(waiting.id)


def _is_long(waiting: Waiting) -> bool:
    """Whether it takes several parts, or nearly."""
    return waiting.size > CHUNK


def _delay(state: Session, retry_ms: tuple[int, int], attempts: int, salt: bytes) -> int:
    """Milliseconds until the next try: twice as many after each, and chance takes or adds up to a half."""
    first, longest = retry_ms
    middle = min(first << min(attempts, 16), longest)
    chance = int.from_bytes(hashlib.sha256(state.entropy + salt).digest()[:4], "big")
    return middle // 2 + (middle * chance >> 32)


def is_due(due: int, now: int) -> bool:
    """Whether it is time; also where the clock was set back, so that nothing waits longer than it ever would."""
    return not now < due <= now + 2 * UPDATE_RETRY_MS[1]


def decline(state: Session, window: int, reason: str) -> Moved:
    """Say that we do not take part, if anybody can hear it: later it is of no use."""
    me, note = state.me, Note(f"window {window} is declined: {reason}")
    if not state.online:
        return state, (note,)
    decline = Decline(federation=me.federation, device=me.device, window=window, reason=reason)
    state, body = seal(state, decline, Purpose.DECLINE)
    return state, (note, Publish(topics.up(me.federation, me.device, Up.DECLINE), body))


def say_presence(state: Session, *, online: bool) -> Moved:
    """A member says, for whoever asks later too, that it is there, or that it goes."""
    if not state.online or not isinstance(state.belonging, Member):
        return state, ()
    state, body = _presence(state, online=online)
    topic = topics.up(state.me.federation, state.me.device, Up.PRESENCE)
    return state, (Publish(topic, body, retain=True),)


def _presence(state: Session, *, online: bool) -> tuple[Session, bytes]:
    felt = state.condition
    presence = Presence(
        federation=state.me.federation,
        device=state.me.device,
        online=online,
        examples=felt.examples,
        battery=felt.battery,
        temperature=felt.temperature,
        link=felt.link,
    )
    return seal(state, presence, Purpose.PRESENCE)


def seal(state: Session, message: Message, purpose: Purpose) -> tuple[Session, bytes]:
    """The message under our signature, with a counter that is used once."""
    epoch = state.belonging.identity.epoch if isinstance(state.belonging, Member) else 0
    sealed = envelope.seal(message, purpose, state.me.key, epoch, state.counter)
    return replace(state, counter=state.counter + 1), sealed
