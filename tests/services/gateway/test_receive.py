"""Every rule by which the gateway believes what a device published, one by one."""

import hashlib
from dataclasses import replace

import pytest

from mizzle import parts, topics
from mizzle.codec import encode
from mizzle.device.states import Bounds
from mizzle.envelope import FIXED, Key, Purpose, seal, unseal
from mizzle.messages import Held, Message, Received, Refusal, Run, Unauthenticated, Want
from mizzle.parts import CHUNK
from mizzle.topics import Up
from services.gateway.allowance import AT_ONCE
from services.gateway.receive import (
    EXPIRES_MS,
    MOST_ENROLMENT,
    NOBODY,
    Arrivals,
    Came,
    Part,
    Payload,
    Probed,
    Reply,
    Taken,
    answered,
    begin,
    expired,
    receive,
    resume,
    sender,
)
from tests.hostile.envelopes import sealed_header
from tests.mizzle.device.federation import Federation
from tests.services.gateway.devices import Device

NOW = 1_800_000_000_000
PUMP = Device()
MILL = Device("mill-1", seed=3)
SMALL = b"levels" * 10
LARGE = bytes(range(256)) * 1000
SMALL_ORDER_KEY = (1).to_bytes(32, "little")


def arrivals(most_payload: int = 1_000_000, most_bytes: int = 10_000_000) -> Arrivals:
    return Arrivals("barn", most_payload, most_bytes)


def came(body: bytes, kind: Up = Up.UPDATE, device: Device = PUMP, *, known: bool = True, now: int = NOW) -> Came:
    return Came(device.topic(kind), body, device.key.public_key if known else None, now)


def said(device: str, reason: str) -> tuple[Message, ...]:
    return (Unauthenticated(device=device, reason=reason),)


def received(part: bytes, device: Device, payload: bytes, window: int = 1, *, nonce: bytes = bytes(16)) -> Received:
    envelope = unseal(part)
    update = device.update(payload, window, nonce=nonce)
    return Received(id=envelope.id, update=update, sealed=part[: envelope.size])


def test_an_update_of_one_part_is_received_at_once() -> None:
    (part,) = PUMP.parts(SMALL)
    whole = received(part, PUMP, SMALL)
    assert receive(arrivals(), came(part)) == Taken((whole,), Payload(whole.id, SMALL))


def test_an_update_of_no_bytes_is_received_too() -> None:
    (part,) = PUMP.parts(b"")
    whole = received(part, PUMP, b"")
    assert receive(arrivals(), came(part)) == Taken((whole,), Payload(whole.id, b""))


def test_an_update_of_several_parts_is_received_with_its_last_one_in_any_order_after_the_first() -> None:
    first, *later = PUMP.parts(LARGE)
    here = arrivals()
    nothing = [receive(here, came(part)) for part in (first, later[1])]
    whole = received(first, PUMP, LARGE)
    assert nothing == [
        Taken(part=Part(PUMP.name, first, begins=True)),
        Taken(part=Part(PUMP.name, later[1], begins=False)),
    ]
    assert receive(here, came(later[0])) == Taken((whole,), Payload(whole.id, LARGE), ended=(PUMP.name,))
    assert (here.held, here.coming) == (0, {})


def test_a_part_that_comes_twice_counts_once() -> None:
    first, second, third = PUMP.parts(LARGE)
    here = arrivals()
    taken = [receive(here, came(part)) for part in (first, second, first, second, third)]
    assert [one.said for one in taken] == [(), (), (), (), (received(first, PUMP, LARGE),)]


def test_what_has_come_of_an_update_is_kept_when_it_begins_again() -> None:
    first, second, third = PUMP.parts(LARGE)
    here = arrivals()
    *_, last = [receive(here, came(part)) for part in (first, second, first, third)]
    assert last.said == (received(first, PUMP, LARGE),)


def test_an_update_that_is_sent_again_is_received_again() -> None:
    (part,) = PUMP.parts(SMALL)
    here = arrivals()
    assert receive(here, came(part)) == receive(here, came(part))


def test_a_later_part_without_its_first_says_nothing() -> None:
    _, second, _ = PUMP.parts(LARGE)
    taken = receive(arrivals(), came(second))
    assert (taken.said, taken.payload) == ((), None)
    assert "whose first part is not here" in taken.why


def test_a_later_part_of_somebody_elses_update_is_not_added() -> None:
    here = arrivals()
    first, second, third = PUMP.parts(LARGE)
    receive(here, came(first))
    receive(here, came(second, device=MILL))
    receive(here, came(third))
    assert here.coming[PUMP.name].chunks.keys() == {0, 2}


def test_a_device_has_one_incomplete_update_and_the_newer_one_is_it() -> None:
    here = arrivals()
    old, new = PUMP.parts(LARGE), PUMP.parts(LARGE, nonce=b"n" * 16)
    for part in (old[0], old[1], new[0], old[2]):
        assert receive(here, came(part)).said == ()
    assert here.coming[PUMP.name].received == received(new[0], PUMP, LARGE, nonce=b"n" * 16)
    assert here.held == len(LARGE)


def test_what_has_had_no_new_part_for_a_while_is_forgotten_with_what_is_stored_of_it() -> None:
    """A slow line takes as long as it takes: what counts is the pause, in which the same part again is no news."""
    here = arrivals()
    first, second, third = PUMP.parts(LARGE)
    receive(here, came(first))
    receive(here, came(second, now=NOW + EXPIRES_MS - 1))
    receive(here, came(first, now=NOW + 2 * EXPIRES_MS - 2))
    taken = receive(here, came(third, now=NOW + 2 * EXPIRES_MS - 1))
    assert (taken.said, taken.ended, here.held, here.coming) == ((), (PUMP.name,), 0, {})


def test_time_alone_forgets_too() -> None:
    here = arrivals()
    receive(here, came(PUMP.parts(LARGE)[0]))
    assert expired(here, NOW + EXPIRES_MS - 1) == ()
    assert (expired(here, NOW + EXPIRES_MS), here.held, here.coming) == ((PUMP.name,), 0, {})
    assert expired(here, NOW + EXPIRES_MS) == ()


def test_for_want_of_room_the_oldest_incomplete_update_is_forgotten() -> None:
    here = arrivals(most_bytes=2 * len(LARGE) - 1)
    receive(here, came(PUMP.parts(LARGE)[0]))
    taken = receive(here, came(MILL.parts(LARGE)[0], device=MILL))
    assert (list(here.coming), taken.ended) == ([MILL.name], (PUMP.name,))
    assert here.held == len(LARGE)


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1])
def test_payloads_around_the_size_of_a_part_are_received_whole(size: int) -> None:
    here, payload = arrivals(), b"q" * size
    *_, last = [receive(here, came(part)) for part in PUMP.parts(payload)]
    assert last.payload is not None
    assert last.payload.body == payload


@pytest.mark.parametrize("kind", [Up.UPDATE, Up.PRESENCE, Up.DECLINE])
def test_a_device_that_is_not_enrolled_is_not_heard(kind: Up) -> None:
    bodies = {
        Up.UPDATE: PUMP.parts(SMALL)[0],
        Up.PRESENCE: PUMP.sealed(PUMP.presence(), Purpose.PRESENCE),
        Up.DECLINE: PUMP.sealed(PUMP.decline(), Purpose.DECLINE),
    }
    assert receive(arrivals(), came(bodies[kind], kind, known=False)).said == said("pump-7", "unknown")


def test_nothing_is_kept_for_a_device_that_is_not_enrolled() -> None:
    here = arrivals()
    for part in PUMP.parts(LARGE):
        assert receive(here, came(part, known=False)).said == said("pump-7", "unknown")
    assert (here.held, here.coming) == (0, {})


@pytest.mark.parametrize("place", [10, 40, FIXED + 5])
def test_a_changed_byte_before_the_payload_is_a_forgery(place: int) -> None:
    (part,) = PUMP.parts(SMALL)
    forged = part[:place] + bytes([part[place] ^ 1]) + part[place + 1 :]
    assert receive(arrivals(), came(forged)).said == said("pump-7", "forged")


def test_a_changed_payload_is_not_the_signed_one() -> None:
    (part,) = PUMP.parts(SMALL)
    forged = part[:-1] + bytes([part[-1] ^ 1])
    taken = receive(arrivals(), came(forged))
    assert (taken.said, taken.payload) == (said("pump-7", "payload"), None)


def test_a_payload_that_was_damaged_on_the_way_is_received_when_it_is_sent_again() -> None:
    here = arrivals()
    first, second, third = PUMP.parts(LARGE)
    damaged = third[:-1] + bytes([third[-1] ^ 1])
    *_, last = [receive(here, came(part)) for part in (first, second, damaged)]
    assert last.said == said("pump-7", "payload")
    *_, last = [receive(here, came(part)) for part in (first, second, third)]
    assert last.said == (received(first, PUMP, LARGE),)


@pytest.mark.parametrize("extra", [b"", b"more"])
def test_a_part_of_another_length_than_its_place_wants_is_not_taken(extra: bytes) -> None:
    first, second, third = PUMP.parts(LARGE)
    here = arrivals()
    receive(here, came(first))
    wrong = third[:-1] if not extra else third + extra
    assert receive(here, came(wrong)).said == said("pump-7", "payload")
    assert receive(here, came(second)).said == ()
    assert receive(here, came(third)).said == (received(first, PUMP, LARGE),)


def test_a_part_beyond_the_last_is_not_taken() -> None:
    first, second, _ = PUMP.parts(LARGE)
    here = arrivals()
    receive(here, came(first))
    beyond = second[:2] + (9).to_bytes(2, "big") + second[4:]
    assert receive(here, came(beyond)).said == said("pump-7", "payload")


def test_a_payload_longer_than_the_plan_allows_is_refused_by_its_header() -> None:
    (part,) = PUMP.parts(SMALL)
    whole = received(part, PUMP, SMALL)
    why = "a payload is at most 59 bytes long, 60 were announced"
    refused = Refusal(id=whole.id, update=whole.update, sealed=whole.sealed, reason="oversized", why=why)
    assert receive(arrivals(most_payload=len(SMALL) - 1), came(part)).said == (refused,)
    assert receive(arrivals(most_payload=len(SMALL)), came(part)).said == (whole,)


def test_what_one_device_signed_is_not_believed_of_another() -> None:
    (part,) = PUMP.parts(SMALL)
    stolen = Came(MILL.topic(Up.UPDATE), part, MILL.key.public_key, NOW)
    assert receive(arrivals(), stolen).said == said("mill-1", "forged")


def test_a_device_with_the_key_of_another_does_not_speak_for_it() -> None:
    (part,) = PUMP.parts(SMALL)
    twin = Came(MILL.topic(Up.UPDATE), part, PUMP.key.public_key, NOW)
    assert receive(arrivals(), twin).said == said("mill-1", "forged")


def test_what_was_signed_for_another_federation_is_not_believed() -> None:
    elsewhere = replace(PUMP, federation="mine")
    (part,) = elsewhere.parts(SMALL)
    assert receive(arrivals(), came(part)).said == said("pump-7", "forged")


def test_a_message_of_another_federations_topic_is_not_taken() -> None:
    elsewhere = replace(PUMP, federation="mine")
    assert receive(arrivals(), came(elsewhere.parts(SMALL)[0], device=elsewhere)).said == said(NOBODY, "topic")


@pytest.mark.parametrize(
    "topic", ["mz/1/barn/up/1/pump-7/update", "mz/1/barn/up/x/pump-7/update", "mz/1/barn/to/pump-7/update", "x"]
)
def test_a_topic_that_no_device_publishes_on_is_not_taken(topic: str) -> None:
    assert sender(topic) is None
    assert receive(arrivals(), Came(topic, b"", None, NOW)).said == said(NOBODY, "topic")


@pytest.mark.parametrize("kind", [Up.UPDATE, Up.PRESENCE, Up.DECLINE, Up.ENROL])
@pytest.mark.parametrize("body", [b"", b"mz", b"\x90" * 500, bytes(200)])
def test_bytes_that_are_no_message_are_unreadable(kind: Up, body: bytes) -> None:
    assert receive(arrivals(), came(body, kind)).said == said("pump-7", "unreadable")


def test_a_signature_for_one_purpose_is_none_for_another() -> None:
    sealed = PUMP.sealed(PUMP.presence(), Purpose.PRESENCE)
    assert receive(arrivals(), came(sealed, Up.DECLINE)).said == said("pump-7", "forged")
    assert receive(arrivals(), came(sealed, Up.UPDATE)).said == said("pump-7", "forged")


def test_a_message_sealed_for_another_purpose_than_its_own_is_unreadable() -> None:
    sealed = PUMP.sealed(PUMP.presence(), Purpose.DECLINE)
    assert receive(arrivals(), came(sealed, Up.DECLINE)).said == said("pump-7", "unreadable")


@pytest.mark.parametrize("kind", [Up.PRESENCE, Up.DECLINE, Up.ENROL])
def test_nothing_follows_an_envelope_that_carries_no_payload(kind: Up) -> None:
    sealed = {
        Up.PRESENCE: PUMP.sealed(PUMP.presence(), Purpose.PRESENCE),
        Up.DECLINE: PUMP.sealed(PUMP.decline(), Purpose.DECLINE),
        Up.ENROL: PUMP.sealed(PUMP.enrolment(), Purpose.ENROLMENT),
    }[kind]
    assert receive(arrivals(), came(sealed + b"x", kind)).said == said("pump-7", "unreadable")


def test_presence_and_declines_are_passed_on_as_they_are() -> None:
    presence = came(PUMP.sealed(PUMP.presence(), Purpose.PRESENCE), Up.PRESENCE)
    decline = came(PUMP.sealed(PUMP.decline(), Purpose.DECLINE), Up.DECLINE)
    assert [receive(arrivals(), presence), receive(arrivals(), decline)] == [
        Taken((PUMP.presence(),)),
        Taken((PUMP.decline(),)),
    ]


def test_an_enrolment_is_believed_by_the_key_that_it_brings() -> None:
    sealed = PUMP.sealed(PUMP.enrolment(), Purpose.ENROLMENT)
    assert receive(arrivals(), came(sealed, Up.ENROL, known=False)).said == (PUMP.enrolment(),)


def test_an_enrolment_that_another_key_signed_is_a_forgery() -> None:
    sealed = seal(PUMP.enrolment(), Purpose.ENROLMENT, MILL.key, 0, 0)
    assert receive(arrivals(), came(sealed, Up.ENROL, known=False)).said == said("pump-7", "forged")


def test_an_enrolment_for_another_device_than_the_topics_is_a_forgery() -> None:
    sealed = MILL.sealed(MILL.enrolment(), Purpose.ENROLMENT)
    assert receive(arrivals(), came(sealed, Up.ENROL)).said == said("pump-7", "forged")


def test_a_key_of_small_order_enrols_nobody() -> None:
    class Anything(Key):
        @property
        def public_key(self) -> bytes:
            return SMALL_ORDER_KEY

        def sign(self, message: bytes) -> bytes:
            assert message
            return SMALL_ORDER_KEY + bytes(32)

    signer = Anything(bytes(32))
    enrolment = PUMP.enrolment()
    claimed = type(enrolment)(federation="barn", device="pump-7", public_key=SMALL_ORDER_KEY, proof=enrolment.proof)
    sealed = seal(claimed, Purpose.ENROLMENT, signer, 0, 0)
    assert receive(arrivals(), came(sealed, Up.ENROL, known=False)).said == said("pump-7", "forged")


def test_an_enrolment_is_read_before_it_is_verified_and_so_is_no_longer_than_any_can_be() -> None:
    longest = replace(PUMP, name="p" * 64, federation="b" * 64)
    sealed = longest.sealed(longest.enrolment(), Purpose.ENROLMENT)
    assert unseal(sealed).size - FIXED <= MOST_ENROLMENT
    longer = sealed_header(b"\xc0" * (MOST_ENROLMENT + 1), Purpose.ENROLMENT, PUMP.key)
    taken = receive(arrivals(), came(longer, Up.ENROL, known=False))
    assert (taken.said, taken.why) == (said("pump-7", "unreadable"), "a message is at most 512 bytes long, got 513")


def test_what_ends_here_is_a_stray_and_what_has_an_outcome_is_none() -> None:
    (part,) = PUMP.parts(SMALL)
    _, orphan, _ = PUMP.parts(LARGE)
    strays = [came(b""), came(part, known=False), came(orphan), came(part, Up.PROBE)]
    assert [receive(arrivals(), one).reason for one in strays] == ["unreadable", "unknown", "orphan", "unreadable"]
    assert all(receive(arrivals(), one).is_stray for one in strays)
    refused = receive(arrivals(most_payload=1), came(part))
    assert (refused.reason, refused.is_stray) == ("oversized", False)
    assert not receive(arrivals(), came(part)).is_stray


def test_an_update_of_one_part_leaves_the_incomplete_one_of_its_device_alone() -> None:
    here = arrivals()
    first, second, third = PUMP.parts(LARGE)
    (small,) = PUMP.parts(SMALL)
    *_, last = [receive(here, came(part)) for part in (first, small, second, third)]
    assert last.said == (received(first, PUMP, LARGE),)


# Probes


def asked(here: Arrivals, part: bytes, device: Device = PUMP) -> Taken:
    """What becomes of the probe for the update that begins with this part."""
    return receive(here, came(part[: unseal(part).size], Up.PROBE, device))


def missing(taken: Taken) -> tuple[tuple[int, int], ...]:
    assert taken.probed is not None
    return tuple((run.first, run.count) for run in parts.runs(taken.probed.missing))


def test_a_probe_for_an_unknown_update_wants_all_of_it_and_begins_nothing() -> None:
    here = arrivals()
    first, *_ = PUMP.parts(LARGE)
    taken = asked(here, first)
    assert taken == Taken(probed=Probed(received(first, PUMP, LARGE), 0b111))
    assert (here.held, here.coming) == (0, {})


def test_a_probe_for_what_has_come_in_part_wants_the_rest() -> None:
    here = arrivals()
    first, second, third = PUMP.parts(LARGE)
    receive(here, came(first))
    assert missing(asked(here, first)) == ((1, 2),)
    receive(here, came(third))
    assert missing(asked(here, first)) == ((1, 1),)
    *_, last = [receive(here, came(part)) for part in (second,)]
    assert last.said == (received(first, PUMP, LARGE),)


def test_a_probe_for_another_update_leaves_the_incomplete_one_as_it_is() -> None:
    here = arrivals()
    first, *_ = PUMP.parts(LARGE)
    receive(here, came(first))
    assert missing(asked(here, PUMP.parts(LARGE, nonce=b"n" * 16)[0])) == ((0, 3),)
    assert missing(asked(here, first)) == ((1, 2),)


def test_a_probe_is_answered_by_the_receipt_or_that_all_is_here_or_by_what_is_missing() -> None:
    first, *_ = PUMP.parts(LARGE)
    probed = asked(arrivals(), first).probed
    assert probed is not None
    whole = probed.received
    assert answered(probed, b"sealed", is_stored=True) == Reply("pump-7", "receipt", b"sealed")
    assert answered(probed, None, is_stored=True) == Reply("pump-7", "want", encode(Held(update=whole.id)), (whole,))
    want = Want(update=whole.id, parts=(Run(first=0, count=3),))
    assert answered(probed, None, is_stored=False) == Reply("pump-7", "want", encode(want))


def test_a_probe_is_believed_as_little_as_an_update() -> None:
    (part,) = PUMP.parts(SMALL)
    header = part[: unseal(part).size]
    flipped = header[:-1] + bytes([header[-1] ^ 1])
    decline = PUMP.sealed(PUMP.decline(), Purpose.DECLINE)
    hostile = {
        "the header of another device": Came(MILL.topic(Up.PROBE), header, MILL.key.public_key, NOW),
        "by the other's key": Came(MILL.topic(Up.PROBE), header, PUMP.key.public_key, NOW),
        "one bit flipped": came(flipped, Up.PROBE),
        "a part": came(part, Up.PROBE),
        "another purpose": came(decline, Up.PROBE),
        "nothing": came(b"", Up.PROBE),
        "garbage": came(b"\x90" * 500, Up.PROBE),
        "nobody": came(header, Up.PROBE, known=False),
    }
    found = {name: receive(arrivals(), one) for name, one in hostile.items()}
    assert {name: taken.reason for name, taken in found.items()} == {
        "the header of another device": "forged",
        "by the other's key": "forged",
        "one bit flipped": "forged",
        "a part": "unreadable",
        "another purpose": "forged",
        "nothing": "unreadable",
        "garbage": "unreadable",
        "nobody": "unknown",
    }
    assert all(taken.probed is None and taken.is_stray for taken in found.values())


def test_a_probe_for_what_is_too_long_is_refused_as_the_update_would_be() -> None:
    (part,) = PUMP.parts(SMALL)
    here = arrivals(most_payload=len(SMALL) - 1)
    assert asked(here, part) == receive(here, came(part))


def test_a_full_outbox_of_probes_passes_at_once_and_a_flood_of_them_does_not() -> None:
    here = arrivals()
    (part,) = PUMP.parts(SMALL)
    passed = [asked(here, part).probed is not None for _ in range(2000)]
    assert passed == [True] * AT_ONCE + [False] * (2000 - AT_ONCE)
    outbox, most = Bounds(), parts.count(Bounds().size)
    assert outbox.updates + most + outbox.updates < AT_ONCE


# What an earlier gateway has stored


def test_a_gateway_that_begins_again_goes_on_where_the_one_before_it_was() -> None:
    first, second, third = PUMP.parts(LARGE)
    here = arrivals()
    assert resume(here, PUMP.name, PUMP.key.public_key, [first, second], NOW)
    assert missing(asked(here, first)) == ((2, 1),)
    assert receive(here, came(third)).said == (received(first, PUMP, LARGE),)


@pytest.mark.parametrize(
    ("stored", "key"),
    [
        ([], PUMP.key.public_key),
        ([b""], PUMP.key.public_key),
        ([bytes(200)], PUMP.key.public_key),
        ([PUMP.parts(LARGE)[1]], PUMP.key.public_key),
        ([PUMP.parts(LARGE)[0]], None),
        ([PUMP.parts(LARGE)[0]], MILL.key.public_key),
        ([MILL.parts(LARGE)[0]], PUMP.key.public_key),
    ],
    ids=["nothing", "empty", "zeros", "no first part", "not enrolled", "another key", "another device"],
)
def test_of_what_nobody_vouches_for_nothing_is_made(stored: list[bytes], key: bytes | None) -> None:
    here = arrivals()
    assert not resume(here, PUMP.name, key, stored, NOW)
    assert (here.held, here.coming) == (0, {})


def test_a_payload_of_the_plans_own_code_is_within_the_bound() -> None:
    plan = Federation("barn").plan
    assert begin(plan).most_payload >= 4 * plan.model.parameters + 256
    assert begin(plan).federation == "barn"


def test_the_update_id_is_the_hash_of_what_was_signed() -> None:
    (part,) = PUMP.parts(SMALL)
    (message,) = receive(arrivals(), came(part)).said
    assert isinstance(message, Received)
    assert message.id == hashlib.sha256(unseal(part).signed).digest()
    assert topics.up("barn", "pump-7", Up.UPDATE) == PUMP.topic(Up.UPDATE)
