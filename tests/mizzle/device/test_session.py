"""What a device does about what it is told: each rule once, on scripted events."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import msgspec
import pytest

from mizzle import blobs, topics
from mizzle.codec import decode, encode
from mizzle.device import enrol
from mizzle.device.effects import (
    Accept,
    Clear,
    Effect,
    Keep,
    Note,
    Open,
    Probe,
    Publish,
    Remember,
    Send,
    Subscribe,
    Train,
    Unsubscribe,
)
from mizzle.device.events import Cleared, Condition, Declined, Event, Full, Kept, Stop, Trained
from mizzle.device.session import begin, step
from mizzle.device.states import NOTHING_SEEN, Bounds, Idle, Me, Newest, Training, Waiting
from mizzle.envelope import Key, Purpose, unseal
from mizzle.messages import Decline, Enrolment, Held, Identity, Presence, Receipt, Refused, Run, Update, Want
from mizzle.moves import Tick
from mizzle.topics import Up
from mizzle.transport.bus import Arrived, Connected, Disconnected, Sent
from tests.mizzle.device.federation import FAR, MODEL, PLAN, Federation

DEVICE = "pump-7"
KEY = Key(b"k" * 32)
OTHER = Key(b"o" * 32)
BARN = Federation(receipt_key=Key(b"r" * 32), invitation_key=Key(b"i" * 32))
NOW = 1_000_000
FAR_OFF_MS = 900_000
ROOM = Bounds()
UPDATE = b"u" * 32

E = TypeVar("E", bound=Effect)


class Played:
    """A session that is told one thing after another, a moment each."""

    def __init__(
        self,
        *,
        belongs: bool = True,
        barn: Federation = BARN,
        waiting: tuple[Waiting, ...] = (),
        newest: Newest = NOTHING_SEEN,
        bounds: Bounds = ROOM,
    ) -> None:
        self.barn, self.now = barn, NOW
        token = enrol.parse(barn.token(DEVICE))
        sealed = barn.identity(DEVICE, KEY.public_key)
        rights = decode(unseal(sealed).header, Identity) if belongs else token
        me = Me(barn.name, DEVICE, KEY, bounds)
        self.state, self.begun = begin(me, rights, counter=100, newest=newest, waiting=waiting)
        self.tell(Tick(NOW, b"e" * 32))

    def tell(self, event: Event) -> tuple[Effect, ...]:
        self.state, effects = step(self.state, event)
        return effects

    def later(self, ms: int) -> tuple[Effect, ...]:
        self.now += ms
        return self.tell(Tick(self.now, self.now.to_bytes(32, "big")))

    def hear(self, kind: str, body: bytes) -> tuple[Effect, ...]:
        return self.tell(Arrived(topics.to(self.barn.name, DEVICE, kind), body))

    def fetch(self) -> tuple[Effect, ...]:
        """Everything that is fetched comes."""
        return tuple(effect for topic, piece in self.barn.blobs() for effect in self.tell(Arrived(topic, piece)))

    def online(self) -> "Played":
        self.tell(Connected(session_present=True))
        return self

    def training(self, window: int = 1) -> "Played":
        """Invited to this window, and at it."""
        self.online().hear("invitation", self.barn.invitation(DEVICE, window))
        self.fetch()
        assert isinstance(self.state.work, Training)
        return self

    def kept(self, window: int = 1) -> Keep:
        """Trained, and the outbox has the update."""
        keep = only(Keep, self.training(window).tell(Trained(window, b"payload")))
        self.tell(Kept(keep.id, len(keep.sealed) + len(keep.payload)))
        return keep

    def keeping_and_answered(self, at: int) -> "Played":
        """It has trained once, and its receipt is of this instant of the server's."""
        self.hear("receipt", BARN.receipt(DEVICE, self.kept().id, at=at))
        return self


def only(kind: type[E], effects: tuple[Effect, ...]) -> E:
    (found,) = (effect for effect in effects if isinstance(effect, kind))
    return found


def all_of(kind: type[E], effects: tuple[Effect, ...]) -> list[E]:
    return [effect for effect in effects if isinstance(effect, kind)]


def nothing_but_a_note(effects: tuple[Effect, ...]) -> bool:
    return [type(effect) for effect in effects] == [Note]


# Belonging


def test_a_stranger_opens_a_line_without_a_will_and_listens_to_what_it_is_told() -> None:
    assert Played(belongs=False).begun == (Open(None), Subscribe(topics.every_to("barn", DEVICE)))


def test_a_stranger_asks_to_belong_as_soon_as_the_line_is_up_with_proof_of_key_and_secret() -> None:
    said = only(Publish, Played(belongs=False).tell(Connected(session_present=False)))
    envelope = unseal(said.body)
    envelope.verify(KEY.public_key)
    enrolment = decode(envelope.header, Enrolment)
    assert said.topic == topics.up("barn", DEVICE, Up.ENROL)
    assert (envelope.purpose, enrolment.public_key) == (Purpose.ENROLMENT, KEY.public_key)
    assert BARN.is_proven(enrolment)


def test_a_stranger_asks_again_with_the_same_bytes_and_ever_longer_pauses() -> None:
    played = Played(belongs=False)
    first = played.tell(Connected(session_present=False))
    assert played.later(900) == ()
    assert played.later(2_100) == first
    assert played.later(1_900) == ()
    assert played.later(4_100) == first


def test_an_identity_signed_by_the_key_in_the_token_is_remembered_and_the_line_opened_with_a_will() -> None:
    played = Played(belongs=False).online()
    sealed = BARN.identity(DEVICE, KEY.public_key)
    remember, opened, subscribe = played.hear("identity", sealed)
    assert remember == Remember(sealed)
    assert subscribe == Subscribe(topics.every_to("barn", DEVICE))
    assert isinstance(opened, Open)
    assert opened.will is not None
    envelope = unseal(opened.will.body)
    envelope.verify(KEY.public_key)
    assert (envelope.epoch, decode(envelope.header, Presence).online) == (1, False)


@pytest.mark.parametrize(
    "forged",
    [
        BARN.identity(DEVICE, KEY.public_key, key=OTHER),
        BARN.identity(DEVICE, KEY.public_key, key=BARN.invitation_key),
        BARN.identity("pump-8", KEY.public_key),
        BARN.identity(DEVICE, OTHER.public_key),
        replace(BARN, name="stable").identity(DEVICE, KEY.public_key),
        BARN.identity(DEVICE, KEY.public_key) + b"x",
        BARN.identity(DEVICE, KEY.public_key)[:-1],
        b"",
    ],
    ids=[
        "another key",
        "another role",
        "another device",
        "our name, another key",
        "another barn",
        "more",
        "less",
        "empty",
    ],
)
def test_no_other_identity_is_believed(forged: bytes) -> None:
    played = Played(belongs=False).online()
    before = played.state
    assert nothing_but_a_note(played.hear("identity", forged))
    assert played.state == before


def test_a_newer_identity_replaces_the_older_and_never_the_other_way_round() -> None:
    played = Played().online()
    assert played.hear("identity", BARN.identity(DEVICE, KEY.public_key)) == ()
    newer = BARN.identity(DEVICE, KEY.public_key, epoch=2)
    assert only(Remember, played.hear("identity", newer)) == Remember(newer)
    assert nothing_but_a_note(played.hear("identity", BARN.identity(DEVICE, KEY.public_key)))


def test_a_stranger_believes_neither_invitations_nor_receipts() -> None:
    played = Played(belongs=False).online()
    assert nothing_but_a_note(played.hear("invitation", BARN.invitation(DEVICE)))
    assert nothing_but_a_note(played.hear("receipt", BARN.receipt(DEVICE, bytes(32))))


# Presence


def presence(said: Publish) -> Presence:
    envelope = unseal(said.body)
    envelope.verify(KEY.public_key)
    assert (said.topic, said.retain, envelope.purpose) == (
        topics.up("barn", DEVICE, Up.PRESENCE),
        True,
        Purpose.PRESENCE,
    )
    return decode(envelope.header, Presence)


def test_a_member_says_retained_that_it_is_there_and_how_it_is() -> None:
    played = Played()
    assert played.tell(Condition(examples=30, battery=0.5, temperature=21.0, link="wifi")) == ()
    assert presence(only(Publish, played.tell(Connected(session_present=False)))) == Presence(
        federation="barn", device=DEVICE, online=True, examples=30, battery=0.5, temperature=21.0, link="wifi"
    )


def test_presence_is_said_again_when_it_changes_and_only_then() -> None:
    played = Played().online()
    changed = Condition(examples=30, battery=0.45)
    assert presence(only(Publish, played.tell(changed))).battery == 0.45
    assert played.tell(changed) == ()


def test_a_device_that_goes_says_so() -> None:
    assert presence(only(Publish, Played().online().tell(Stop()))).online is False


def test_no_counter_is_used_twice() -> None:
    played = Played().training()
    keep = only(Keep, played.tell(Trained(1, b"payload")))
    said = [*all_of(Publish, played.tell(Condition(examples=1))), *all_of(Publish, played.tell(Stop()))]
    will = only(Open, played.begun).will
    assert will is not None
    counters = [unseal(body).counter for body in (will.body, keep.sealed, *(one.body for one in said))]
    assert len(set(counters)) == len(counters)
    assert min(counters) == 100
    assert played.state.counter > max(counters)


# Invitations


def test_an_invitation_fetches_plan_and_model_and_then_trains() -> None:
    played = Played().online()
    accept, *fetches = played.hear("invitation", BARN.invitation(DEVICE))
    model = hashlib.sha256(BARN.model).digest()
    filters = [topics.every_piece("barn", BARN.plan.digest), topics.every_piece("barn", model)]
    assert (accept, fetches) == (Accept(window=1, version=0), [Subscribe(one) for one in filters])
    assert played.fetch() == (
        Unsubscribe(filters[0]),
        Unsubscribe(filters[1]),
        Train(BARN.invite(DEVICE), BARN.plan, BARN.model),
    )


def test_what_is_in_the_cache_is_not_fetched_again() -> None:
    played = Played().training()
    played.tell(Trained(1, b"payload"))
    assert played.hear("invitation", BARN.invitation(DEVICE, 2)) == (
        Accept(window=2, version=0),
        Train(BARN.invite(DEVICE, 2), BARN.plan, BARN.model),
    )


def forged_invitations() -> dict[str, bytes]:
    def changed(**fields: object) -> bytes:
        invitation = msgspec.structs.replace(BARN.invite(DEVICE), **fields)
        return BARN.sealed(invitation, Purpose.INVITATION, BARN.invitation_key)

    good = BARN.invite(DEVICE)
    return {
        "signed by the receipt key": BARN.sealed(good, Purpose.INVITATION, BARN.receipt_key),
        "signed by a stranger": BARN.sealed(good, Purpose.INVITATION, OTHER),
        "sealed for another purpose": BARN.sealed(good, Purpose.RECEIPT, BARN.invitation_key),
        "sealed in another epoch": BARN.sealed(good, Purpose.INVITATION, BARN.invitation_key, epoch=2),
        "another device": changed(device="pump-8"),
        "another federation": changed(federation="stable"),
        "another plan": changed(plan=bytes(32)),
        "another epoch": changed(epoch=2),
        "one bit flipped": BARN.invitation(DEVICE)[:-1] + b"\xff",
    }


@pytest.mark.parametrize("forged", forged_invitations().values(), ids=forged_invitations())
def test_no_other_invitation_is_taken_up(forged: bytes) -> None:
    played = Played().online()
    before = played.state
    assert nothing_but_a_note(played.hear("invitation", forged))
    assert played.state == before


def test_a_base_version_older_than_one_seen_is_refused() -> None:
    played = Played(newest=Newest(window=3, version=2)).online()
    before = played.state
    assert nothing_but_a_note(played.hear("invitation", BARN.invitation(DEVICE, 4, version=1)))
    assert played.state == before
    assert only(Accept, played.hear("invitation", BARN.invitation(DEVICE, 4, version=2))) == Accept(4, 2)


def test_the_same_window_is_never_taken_up_twice() -> None:
    played = Played().training()
    before = played.state
    assert nothing_but_a_note(played.hear("invitation", BARN.invitation(DEVICE)))
    assert played.state == before


def test_one_task_at_a_time_and_only_the_newest_invitation_is_queued_behind_it() -> None:
    played = Played().training()
    assert played.hear("invitation", BARN.invitation(DEVICE, 2)) == (Accept(2, 0),)
    assert played.hear("invitation", BARN.invitation(DEVICE, 3)) == (Accept(3, 0),)
    keep, train = played.tell(Trained(1, b"payload"))
    assert isinstance(keep, Keep)
    assert train == Train(BARN.invite(DEVICE, 3), BARN.plan, BARN.model)


def declined(effects: tuple[Effect, ...]) -> tuple[int, str]:
    said = only(Publish, effects)
    envelope = unseal(said.body)
    envelope.verify(KEY.public_key)
    assert (said.topic, envelope.purpose) == (topics.up("barn", DEVICE, Up.DECLINE), Purpose.DECLINE)
    decline = decode(envelope.header, Decline)
    return decline.window, decline.reason


def test_a_clock_that_is_ahead_keeps_no_device_from_its_work() -> None:
    """By its own clock the deadline is long over: the window is taken to last from now on, as long as windows do."""
    played = Played().online()
    assert len(all_of(Subscribe, played.hear("invitation", BARN.invitation(DEVICE, deadline=NOW - FAR_OFF_MS)))) == 2
    assert all_of(Unsubscribe, played.later(59_999)) == []
    assert declined(played.later(1)) == (1, "no-model")


def test_a_device_whose_clock_is_ahead_and_that_has_the_plan_gives_a_window_its_whole_time() -> None:
    """Also one that has heard from a server whose own clock was ahead and was put right since."""
    played = Played().keeping_and_answered(at=NOW + FAR_OFF_MS)
    train = only(Train, played.hear("invitation", BARN.invitation(DEVICE, 2, deadline=NOW - FAR_OFF_MS)))
    assert train.invitation.deadline == NOW + 60_000


def test_what_was_trained_is_kept_and_sent_however_long_after_its_deadline() -> None:
    """Whether it still counts is the ledger's to say."""
    played = Played().training()
    played.later(FAR)
    keep = only(Keep, played.tell(Trained(1, b"payload")))
    assert keep.window == 1
    assert only(Send, played.tell(Kept(keep.id, 9))) == Send(keep.id)


def test_a_queued_task_whose_deadline_has_passed_is_declined() -> None:
    played = Played().training()
    played.hear("invitation", BARN.invitation(DEVICE, 2, deadline=NOW + 50))
    played.later(50)
    effects = played.tell(Trained(1, b"payload"))
    assert (declined(effects), all_of(Train, effects)) == ((2, "late"), [])


def test_a_model_that_does_not_come_before_the_deadline_is_waited_for_no_longer() -> None:
    played = Played().online()
    subscribed = all_of(Subscribe, played.hear("invitation", BARN.invitation(DEVICE, deadline=NOW + 50)))
    effects = played.later(50)
    assert declined(effects) == (1, "no-model")
    assert all_of(Unsubscribe, effects) == [Unsubscribe(one.topic_filter) for one in subscribed]
    assert played.state.work == Idle()


def test_while_it_fetches_a_newer_invitation_takes_the_place_of_the_older() -> None:
    played = Played().online()
    played.hear("invitation", BARN.invitation(DEVICE, 1))
    played.hear("invitation", BARN.invitation(DEVICE, 2))
    assert only(Train, played.fetch()).invitation.window == 2


def test_what_is_being_fetched_is_asked_for_again_on_a_new_line() -> None:
    played = Played().online()
    asked = all_of(Subscribe, played.hear("invitation", BARN.invitation(DEVICE)))
    assert all_of(Subscribe, played.tell(Connected(session_present=True))) == asked


def test_pieces_that_do_not_hash_to_the_models_name_are_thrown_away_and_the_right_ones_taken() -> None:
    played = Played().online()
    played.hear("invitation", BARN.invitation(DEVICE))
    topic, piece = BARN.blobs()[-1]
    assert nothing_but_a_note(played.tell(Arrived(topic, piece[:-1] + b"\xff")))
    assert only(Train, played.fetch()).model == BARN.model


def test_a_piece_that_claims_another_size_does_not_keep_the_right_ones_out() -> None:
    played = Played().online()
    played.hear("invitation", BARN.invitation(DEVICE))
    topic, _ = BARN.blobs()[-1]
    (smaller,) = blobs.pieces(b"something smaller")
    assert nothing_but_a_note(played.tell(Arrived(topic, smaller)))
    assert only(Train, played.fetch()).model == BARN.model


def test_a_plan_of_another_federation_is_declined() -> None:
    foreign = Federation(toml=PLAN.format(name="stable", train="", deadline_s=60.0))
    played = Played(barn=foreign).online()
    played.hear("invitation", foreign.invitation(DEVICE))
    assert declined(played.fetch()) == (1, "foreign-plan")


def test_only_the_plan_and_the_newest_base_model_are_kept() -> None:
    played = Played().training()
    played.tell(Trained(1, b"payload"))
    newer = replace(BARN, model=MODEL[:-4] + bytes(4))
    invitation = msgspec.structs.replace(newer.invite(DEVICE, 2, version=1), plan=BARN.plan.digest)
    played.hear("invitation", BARN.sealed(invitation, Purpose.INVITATION, BARN.invitation_key))
    for topic, piece in newer.blobs():
        played.tell(Arrived(topic, piece))
    assert isinstance(played.state.work, Training)
    assert set(played.state.blobs) == {BARN.plan.digest, invitation.base.digest}


def test_a_piece_that_nobody_asked_for_is_asked_for_no_longer() -> None:
    topic, piece = BARN.blobs()[0]
    assert Played().online().tell(Arrived(topic, piece)) == (Unsubscribe(topics.every_piece("barn", BARN.plan.digest)),)


@pytest.mark.parametrize(
    ("train", "condition", "reason"),
    [
        ("least_battery = 0.3", Condition(battery=0.25), "battery"),
        ("most_celsius = 60.0", Condition(temperature=61.0), "heat"),
    ],
)
def test_a_device_that_is_not_fit_declines(train: str, condition: Condition, reason: str) -> None:
    played = Played(barn=replace(BARN, train=train)).online()
    played.tell(condition)
    played.hear("invitation", played.barn.invitation(DEVICE))
    assert declined(played.fetch()) == (1, reason)


def test_a_device_without_sensors_is_hindered_by_no_threshold() -> None:
    played = Played(barn=replace(BARN, train="least_battery = 0.3\nmost_celsius = 60.0")).online()
    played.hear("invitation", played.barn.invitation(DEVICE))
    assert len(all_of(Train, played.fetch())) == 1


@pytest.mark.parametrize("bounds", [Bounds(updates=1), Bounds(size=len(BARN.model) + 10)])
def test_a_full_outbox_takes_no_new_task(bounds: Bounds) -> None:
    played = Played(bounds=bounds, waiting=(Waiting(b"u" * 32, 11),)).online()
    assert declined(played.hear("invitation", BARN.invitation(DEVICE))) == (1, "outbox-full")


# Updates


def test_an_update_is_sealed_and_kept_before_anything_is_sent() -> None:
    keep, *others = Played().training().tell(Trained(1, b"payload"))
    assert others == []
    assert isinstance(keep, Keep)
    envelope = unseal(keep.sealed)
    envelope.verify(KEY.public_key)
    update = decode(envelope.header, Update)
    assert (keep.id, keep.window, keep.payload, envelope.epoch) == (envelope.id, 1, b"payload", 1)
    assert (update.base, update.plan) == (hashlib.sha256(BARN.model).digest(), BARN.plan.digest)
    assert (update.payload.digest, update.payload.size) == (hashlib.sha256(b"payload").digest(), 7)


def test_equal_payloads_have_different_ids() -> None:
    played = Played().training()
    first = only(Keep, played.tell(Trained(1, b"payload")))
    played.hear("invitation", BARN.invitation(DEVICE, 2))
    played.later(1)
    second = only(Keep, played.tell(Trained(2, b"payload")))
    other = Played().training()
    other.later(1)
    third = only(Keep, other.tell(Trained(1, b"payload")))
    nonces = {decode(unseal(keep.sealed).header, Update).nonce for keep in (first, second, third)}
    assert len(nonces) == 3


def test_what_the_outbox_has_is_sent_at_once_if_the_line_is_up() -> None:
    played = Played().training()
    keep = only(Keep, played.tell(Trained(1, b"payload")))
    assert played.tell(Kept(keep.id, 200)) == (Send(keep.id),)


def test_what_is_trained_while_the_line_is_down_is_kept_and_sent_when_it_is_up() -> None:
    played = Played().training()
    played.tell(Disconnected("cut"))
    keep = only(Keep, played.tell(Trained(1, b"payload")))
    assert played.tell(Kept(keep.id, 200)) == ()
    assert all_of(Send, played.tell(Connected(session_present=True))) == [Send(keep.id)]


# Probes and hints


def want(update: bytes, *runs: tuple[int, int]) -> bytes:
    return encode(Want(update=update, parts=tuple(Run(first=first, count=count) for first, count in runs)))


def probed(size: int = 10_000_000) -> Played:
    """A device that has asked for the one update that waits, which it has sent before."""
    played = Played(waiting=(Waiting(UPDATE, size, sent=True),))
    assert all_of(Probe, played.tell(Connected(session_present=True))) == [Probe(UPDATE)]
    return played


def test_what_was_sent_before_is_asked_for_on_a_new_line_and_what_never_was_is_sent() -> None:
    played = Played(waiting=(Waiting(b"a" * 32, 10, sent=True), Waiting(b"b" * 32, 10)))
    effects = played.tell(Connected(session_present=False))
    assert [one for one in effects if isinstance(one, Send | Probe)] == [Probe(b"a" * 32), Send(b"b" * 32)]
    assert all_of(Send, played.tell(Connected(session_present=True))) == []


def test_a_long_one_behind_a_long_one_that_was_begun_asks_first_and_a_short_one_does_not() -> None:
    """Else it would take the place of what the gateway has of the other."""
    names = [bytes([number]) * 32 for number in range(4)]
    long, short = 10_000_000, 1000
    waiting = (Waiting(names[0], long, sent=True), Waiting(names[1], long), Waiting(names[2], short))
    effects = Played(waiting=waiting).tell(Connected(session_present=False))
    wanted = [Probe(names[0]), Probe(names[1]), Send(names[2])]
    assert [one for one in effects if isinstance(one, Send | Probe)] == wanted
    alone = Played(waiting=(Waiting(names[0], long), Waiting(names[1], long)))
    assert all_of(Send, alone.tell(Connected(session_present=False))) == [Send(names[0]), Send(names[1])]


def test_the_parts_that_are_missing_are_sent() -> None:
    assert probed().hear("want", want(UPDATE, (3, 2), (9, 1))) == (Send(UPDATE, 0b10_0001_1000),)


def test_each_part_is_sent_once_for_a_probe_however_often_it_is_wanted() -> None:
    """A hint is signed by nobody: whoever forges them makes a device send no more than its probes allow."""
    played = probed()
    assert played.hear("want", want(UPDATE, (0, 4))) == (Send(UPDATE, 0b1111),)
    assert played.hear("want", want(UPDATE, (0, 4))) == ()
    assert played.hear("want", want(UPDATE, (2, 3))) == (Send(UPDATE, 0b10000),)
    assert all_of(Probe, played.later(15_000)) == [Probe(UPDATE)]
    assert played.hear("want", want(UPDATE, (0, 4))) == (Send(UPDATE, 0b1111),)


def test_that_all_of_it_is_held_neither_clears_it_nor_keeps_its_missing_parts_from_being_sent() -> None:
    played = probed()
    assert played.hear("want", encode(Held(update=UPDATE))) == ()
    assert [one.id for one in played.state.waiting] == [UPDATE]
    assert played.hear("want", want(UPDATE, (1, 1))) == (Send(UPDATE, 0b10),)


def test_whoever_says_for_ever_that_all_of_it_is_held_is_asked_for_ever_at_the_ordinary_pauses() -> None:
    played = probed()
    for _ in range(50):
        played.hear("want", encode(Held(update=UPDATE)))
        assert all_of(Probe, played.later(900_000)) == [Probe(UPDATE)]


def test_while_nobody_answers_an_update_is_asked_for_alone_and_whoever_comes_back_has_it() -> None:
    """A gateway that is down for days costs no payload, on one line or on many."""
    played = probed()
    said = [one for _ in range(50) for one in played.later(900_000) if isinstance(one, Send | Probe)]
    for _ in range(50):
        said += [one for one in played.tell(Connected(session_present=True)) if isinstance(one, Send | Probe)]
    assert said == [Probe(UPDATE)] * 100
    assert played.hear("want", want(UPDATE, (0, 102))) == (Send(UPDATE, 2**102 - 1),)


def lost(played: Played) -> None:
    played.tell(Disconnected("cut"))
    assert all_of(Probe, played.tell(Connected(session_present=True))) != []


def refused(played: Played) -> None:
    played.tell(Sent(topics.up(BARN.name, DEVICE, Up.UPDATE), 1, 0x97))
    assert all_of(Probe, played.later(15_000)) != []


@pytest.mark.parametrize("came_to_nothing", [lost, refused])
def test_a_first_sending_that_came_to_nothing_is_made_good_by_the_answer_to_a_probe(
    came_to_nothing: Callable[[Played], None],
) -> None:
    """It counts as sent, so it is never sent whole unasked again; and nothing is stuck."""
    played = Played().training()
    keep = only(Keep, played.tell(Trained(1, b"payload")))
    assert played.tell(Kept(keep.id, 200)) == (Send(keep.id),)
    came_to_nothing(played)
    assert played.hear("want", want(keep.id, (0, 1))) == (Send(keep.id, 1),)


def test_a_receipt_that_answers_a_probe_clears() -> None:
    receipt = BARN.receipt(DEVICE, UPDATE)
    assert probed().hear("receipt", receipt) == (Clear(UPDATE, receipt),)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x80",
        b"\x90" * 5000,
        want(bytes(32), (0, 1)),
        encode(Held(update=bytes(32))),
        want(UPDATE, (0, 1)) + b"x",
        want(UPDATE, (0, 1))[:-1],
        BARN.receipt(DEVICE, UPDATE),
    ],
    ids=["nothing", "a map", "many", "another update", "another is held", "more", "less", "a receipt"],
)
def test_a_hint_that_is_none_of_ours_changes_nothing(body: bytes) -> None:
    played = probed()
    before = played.state
    assert nothing_but_a_note(played.hear("want", body))
    assert played.state == before


@pytest.mark.parametrize("runs", [(), ((0, 0),), ((65_536, 1),), ((0, 65_537),), tuple((2 * n, 1) for n in range(65))])
def test_a_list_of_parts_beyond_its_bounds_is_no_hint(runs: tuple[tuple[int, int], ...]) -> None:
    played = probed()
    assert nothing_but_a_note(played.hear("want", want(UPDATE, *runs)))
    assert all_of(Send, played.hear("want", want(UPDATE, (65_535, 65_536)))) == [
        Send(UPDATE, (2**65_536 - 1) << 65_535)
    ]


def test_a_hint_about_what_was_not_asked_for_makes_nobody_send() -> None:
    played = Played()
    keep = played.kept()
    assert nothing_but_a_note(played.hear("want", want(keep.id, (0, 1))))


def test_on_a_new_line_everything_that_waits_is_sent_oldest_first() -> None:
    waiting = tuple(Waiting(bytes([index]) * 32, 10) for index in (3, 1, 2))
    effects = Played(waiting=waiting).tell(Connected(session_present=False))
    assert all_of(Send, effects) == [Send(one.id) for one in waiting]


def test_without_a_receipt_it_is_asked_for_after_about_ten_seconds_and_then_ever_more_rarely() -> None:
    played = Played()
    keep = played.kept()
    times: list[int] = []
    elapsed = 0
    while len(times) < 5:
        elapsed += 100
        if all_of(Probe, played.later(100)):
            played.hear("want", encode(Held(update=keep.id)))
            times.append(elapsed)
            assert elapsed < 2_000_000
    pauses = [later - sooner for sooner, later in zip([0, *times], times, strict=False)]
    middles = [10_000, 20_000, 40_000, 80_000, 160_000]
    assert all(0.5 * middle <= pause <= 1.5 * middle + 100 for pause, middle in zip(pauses, middles, strict=True))
    assert played.state.waiting[0].id == keep.id


def test_on_a_new_line_the_pauses_begin_anew() -> None:
    played = Played()
    keep = played.kept()
    for _ in range(6):
        played.later(1_000_000)
        played.hear("want", encode(Held(update=keep.id)))
    played.tell(Connected(session_present=True))
    assert all_of(Probe, played.later(15_000)) == [Probe(keep.id)]


def test_while_the_line_is_down_nothing_is_sent_again() -> None:
    played = Played()
    played.kept()
    played.tell(Disconnected("cut"))
    assert played.later(10_000_000) == ()


def test_two_devices_do_not_send_again_at_the_same_moment() -> None:
    sent = Played(waiting=(Waiting(b"a" * 32, 1), Waiting(b"b" * 32, 1))).online().state.waiting
    assert sent[0].due != sent[1].due


# Receipts


def test_a_receipt_asks_the_outbox_to_clear_and_nothing_is_forgotten_before_it_has() -> None:
    played = Played()
    keep = played.kept()
    receipt = BARN.receipt(DEVICE, keep.id)
    assert played.hear("receipt", receipt) == (Clear(keep.id, receipt),)
    assert [waiting.id for waiting in played.state.waiting] == [keep.id]
    assert played.tell(Cleared(keep.id)) == ()
    assert played.state.waiting == ()


def test_a_refusal_clears_as_well() -> None:
    played = Played()
    keep = played.kept()
    receipt = BARN.receipt(DEVICE, keep.id, Refused(reason="norm"))
    assert played.hear("receipt", receipt) == (Clear(keep.id, receipt),)


def false_receipts(update: bytes) -> dict[str, bytes]:
    other = replace(BARN, name="stable")
    good = decode(unseal(BARN.receipt(DEVICE, update)).header, Receipt)
    return {
        "forged": BARN.receipt(DEVICE, update, key=OTHER),
        "signed by the device itself": BARN.receipt(DEVICE, update, key=KEY),
        "signed by the invitation key": BARN.receipt(DEVICE, update, key=BARN.invitation_key),
        "sealed for another purpose": BARN.sealed(good, Purpose.INVITATION, BARN.receipt_key),
        "of another device": BARN.receipt("pump-8", update),
        "of another federation": other.receipt(DEVICE, update),
        "of another update": BARN.receipt(DEVICE, bytes(32)),
        "one bit flipped": BARN.receipt(DEVICE, update)[:-1] + b"\x00",
    }


@pytest.mark.parametrize("which", false_receipts(bytes(32)))
def test_no_other_receipt_clears_anything(which: str) -> None:
    played = Played()
    keep = played.kept()
    before = played.state
    assert nothing_but_a_note(played.hear("receipt", false_receipts(keep.id)[which]))
    assert played.state == before


def test_a_receipt_that_comes_again_is_no_news() -> None:
    played = Played()
    keep = played.kept()
    played.hear("receipt", BARN.receipt(DEVICE, keep.id))
    played.tell(Cleared(keep.id))
    assert nothing_but_a_note(played.hear("receipt", BARN.receipt(DEVICE, keep.id)))


# What else may happen


def test_a_task_that_is_declined_is_said_and_the_queued_one_begun() -> None:
    played = Played().training()
    played.hear("invitation", BARN.invitation(DEVICE, 2))
    effects = played.tell(Declined(1, "battery"))
    assert declined(effects) == (1, "battery")
    assert only(Train, effects).invitation.window == 2


def test_an_update_that_the_outbox_could_not_keep_is_declined_and_noted() -> None:
    played = Played().training()
    played.tell(Trained(1, b"payload"))
    effects = played.tell(Full(1, "the disk is full"))
    assert declined(effects) == (1, "outbox-full")
    assert "the disk is full" in all_of(Note, effects)[0].reason
    assert played.state.waiting == ()


def test_a_result_that_was_not_asked_for_is_dropped() -> None:
    played = Played().training(2)
    before = played.state
    assert nothing_but_a_note(played.tell(Trained(1, b"payload")))
    assert nothing_but_a_note(played.tell(Declined(1, "battery")))
    assert played.state == before


@pytest.mark.parametrize("topic", ["to/pump-7/want", "to/pump-8/receipt", "pub/state"])
def test_a_topic_that_means_nothing_to_it_changes_nothing(topic: str) -> None:
    played = Played().online()
    before = played.state
    assert nothing_but_a_note(played.tell(Arrived(f"mz/1/barn/{topic}", b"anything")))
    assert played.state == before


@pytest.mark.parametrize(("reason", "noted"), [(0x00, False), (0x10, False), (0x87, True), (0x97, True)])
def test_what_the_broker_does_not_take_is_noted(reason: int, *, noted: bool) -> None:
    effects = Played().online().tell(Sent("mz/1/barn/up/1/pump-7/update", 1, reason))
    assert nothing_but_a_note(effects) is noted


def test_the_same_events_make_the_same_moves() -> None:
    def play() -> list[tuple[Effect, ...]]:
        played = Played()
        played.training()
        return [played.tell(Trained(1, b"payload")), played.later(1), played.tell(Stop())]

    assert play() == play()
