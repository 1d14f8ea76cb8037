"""Enrolment: a token is good for one device once, and the identity is the same whenever it is asked for."""

import hashlib
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import delete

from mizzle.codec import decode
from mizzle.device.enrol import identity_in, parse, sealed_enrolment
from mizzle.envelope import Key, unseal
from mizzle.messages import Answer, Enrolment, ServerKey, Unauthenticated
from services.ledger.tables import AUDIT, DEVICES, TOKENS
from services.privacy_accountant.page import MOST_STRANGE_AN_HOUR
from tests.services.federations import Federation, federation

KEY = Key(hashlib.sha256(b"pump-1").digest())


@pytest.fixture
def ours(tmp_path: Path) -> Federation:
    return federation(tmp_path, enrol=())


def changed(enrolment: Enrolment, **fields: object) -> Enrolment:
    return msgspec.structs.replace(enrolment, **fields)


def last_act(ours: Federation) -> tuple[object, object]:
    row = ours.rows(AUDIT)[-1]
    return (row["action"], row["subject"])


def test_a_device_with_a_token_is_sent_an_identity_that_it_believes(ours: Federation) -> None:
    (said,) = ours.book(ours.enrolment("pump-1"))
    assert isinstance(said, Answer)
    identity = identity_in(said.sealed, [ours.founded.public_keys["receipt"]], "pumps", "pump-1", KEY.public_key)
    assert identity.plan.digest == ours.plan.digest
    assert set(identity.keys) == {
        ServerKey(role="receipt", public_key=ours.founded.public_keys["receipt"]),
        ServerKey(role="invitation", public_key=ours.founded.public_keys["invitation"]),
        ServerKey(role="release", public_key=ours.founded.public_keys["release"]),
    }
    assert last_act(ours) == ("device.enrolled", "pump-1")


def test_an_enrolment_that_comes_again_is_answered_with_the_identical_bytes(ours: Federation) -> None:
    enrolment = ours.enrolment("pump-1")
    said, before = ours.book(enrolment), ours.everything()
    assert ours.book(enrolment) == said
    assert ours.everything() == before


def test_the_ledger_knows_a_devices_key_once_it_belongs(ours: Federation) -> None:
    enrolment = ours.enrolment("pump-1")
    assert ours.ledger.device_key("pump-1") is None
    ours.book(enrolment)
    assert ours.ledger.device_key("pump-1") == KEY.public_key
    assert ours.row(TOKENS, device="pump-1")["used_at"] == ours.row(DEVICES, device="pump-1")["enrolled_at"]


def test_a_proof_without_the_secret_enrols_nobody(ours: Federation) -> None:
    refused(ours, changed(ours.enrolment("pump-1"), proof=bytes(32)))


def test_a_proof_for_another_key_enrols_nobody(ours: Federation) -> None:
    refused(ours, changed(ours.enrolment("pump-1"), public_key=Key(bytes(32)).public_key))


def test_a_device_without_a_token_does_not_belong(ours: Federation) -> None:
    refused(ours, changed(ours.enrolment("pump-1"), device="pump-2"))


def test_an_enrolment_in_another_federation_enrols_nobody(ours: Federation) -> None:
    refused(ours, changed(ours.enrolment("pump-1"), federation="valves"))


def test_an_expired_token_enrols_nobody(ours: Federation) -> None:
    sealed = sealed_enrolment(parse(ours.founded.token("pump-1", life_ms=-1)), KEY, counter=1)
    refused(ours, decode(unseal(sealed).header, Enrolment))


def test_a_token_that_was_used_enrols_nobody_although_its_device_is_gone(ours: Federation) -> None:
    enrolment = ours.enrolment("pump-1")
    ours.book(enrolment)
    with ours.ledger.write(ours.epoch) as tx:
        tx.execute(delete(DEVICES))
    refused(ours, enrolment)


def test_a_device_that_belongs_keeps_its_key(ours: Federation) -> None:
    enrolment = ours.enrolment("pump-1")
    ours.book(enrolment)
    before = ours.rows(DEVICES)
    assert ours.book(changed(enrolment, public_key=Key(bytes(32)).public_key)) == []
    assert ours.rows(DEVICES) == before
    assert last_act(ours) == ("enrolment.refused", "pump-1")


def test_a_flood_of_refusals_does_not_grow_the_audit_log_without_end(ours: Federation) -> None:
    enrolment = ours.enrolment("pump-1")
    for number in range(MOST_STRANGE_AN_HOUR + 20):
        ours.book(changed(enrolment, device=f"stranger-{number}"))
    assert sum(row["action"] == "enrolment.refused" for row in ours.rows(AUDIT)) == MOST_STRANGE_AN_HOUR


def test_what_strangers_send_is_in_the_audit_log_with_its_reason_once_and_does_not_fill_it(ours: Federation) -> None:
    stranger = ours.booking(Unauthenticated(device="pump-9", reason="forged"))
    ours.booked([stranger])
    ours.booked([stranger])
    assert last_act(ours) == ("delivery.unauthenticated", "pump-9")
    assert ours.rows(AUDIT)[-1]["body"] == '{"reason":"forged"}'
    for _ in range(3):
        ours.book(*[Unauthenticated(device="pump-9", reason="forged")] * 50)
    kept = sum(row["action"] == "delivery.unauthenticated" for row in ours.rows(AUDIT))
    assert kept == MOST_STRANGE_AN_HOUR


def refused(ours: Federation, enrolment: Enrolment) -> None:
    assert ours.book(enrolment) == []
    assert ours.rows(DEVICES) == []
    assert last_act(ours) == ("enrolment.refused", enrolment.device)
