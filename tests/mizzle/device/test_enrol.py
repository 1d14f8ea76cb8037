"""Tokens and proofs; what becomes of them is in test_session.py."""

import hashlib
import hmac

import pytest

from mizzle.codec import decode
from mizzle.device.enrol import Token, parse, sealed_enrolment
from mizzle.envelope import Key, Purpose, unseal
from mizzle.errors import Misconfigured
from mizzle.messages import Enrolment

KEY = Key(b"k" * 32)
TEXT = f"mzt1.barn.pump-7.{'5a' * 16}.{'ab' * 32}"


def test_a_token_is_read_with_spaces_around_it() -> None:
    assert parse(f" {TEXT}\n") == Token("barn", "pump-7", "5a" * 16, b"\xab" * 32)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mzt1",
        TEXT[:-1],
        TEXT + "0",
        TEXT.replace("mzt1", "mzt2"),
        TEXT.upper(),
        TEXT.replace("barn", "b/rn"),
        TEXT + ".",
    ],
)
def test_what_is_no_token_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(Misconfigured, match="an enrolment token is") as refused:
        parse(text)
    assert "5a5a" not in str(refused.value)


def test_a_token_does_not_show_its_secret() -> None:
    assert "5a5a" not in repr(parse(TEXT))


def test_the_proof_is_an_hmac_over_federation_device_and_key_under_the_hash_of_the_secret() -> None:
    envelope = unseal(sealed_enrolment(parse(TEXT), KEY, counter=3))
    envelope.verify(KEY.public_key)
    enrolment = decode(envelope.header, Enrolment)
    said = b"mizzle/1/token\0barn\0pump-7\0" + KEY.public_key
    assert enrolment.proof == hmac.new(hashlib.sha256(b"5a" * 16).digest(), said, hashlib.sha256).digest()
    assert (envelope.purpose, envelope.epoch, envelope.counter) == (Purpose.ENROLMENT, 0, 3)
