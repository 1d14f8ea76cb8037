"""Founding: keys that only their owner reads, a plan that can work, and tokens."""

import stat
from pathlib import Path

import pytest

from mizzle.device.enrol import parse
from mizzle.errors import Misconfigured
from services.ledger import keys
from services.ledger.founding import found, open_founded
from services.ledger.tables import AUDIT, TOKENS
from tests.services.federations import Federation, federation
from tests.services.plans import MODEL, plan


@pytest.fixture
def ours(tmp_path: Path) -> Federation:
    return federation(tmp_path, enrol=())


def test_each_role_has_a_key_that_only_its_owner_reads(ours: Federation) -> None:
    for role in ("receipt", "invitation", "release"):
        assert keys.read(ours.folder / "keys", role).public_key == ours.founded.public_keys[role]
        assert stat.S_IMODE((ours.folder / "keys" / f"{role}.key").stat().st_mode) == 0o600
    assert len(set(ours.founded.public_keys.values())) == 3


def test_founding_is_the_first_row_of_the_audit_chain(ours: Federation) -> None:
    first = ours.rows(AUDIT)[0]
    assert (first["seq"], first["actor"], first["action"]) == (1, "operator", "federation.founded")


def test_a_federation_is_founded_once(ours: Federation, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="in this ledger already"):
        found(str(ours.ledger.engine.url), plan(), MODEL, tmp_path / "other keys")


def test_a_key_is_never_replaced(ours: Federation, tmp_path: Path) -> None:
    before = ours.founded.public_keys
    with pytest.raises(Misconfigured, match="never replaced"):
        found(f"sqlite:///{tmp_path / 'other.db'}", plan(), MODEL, ours.folder / "keys")
    assert keys.read(ours.folder / "keys", "receipt").public_key == before["receipt"]


def test_a_plan_whose_sums_could_wrap_founds_nothing(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="2\\^62"):
        found(f"sqlite:///{tmp_path / 'ledger.db'}", plan(goal=2**31, noise=1e6), MODEL, tmp_path / "keys")
    assert list(tmp_path.iterdir()) == []


def test_a_plan_of_another_model_founds_nothing(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="this file has"):
        found(f"sqlite:///{tmp_path / 'ledger.db'}", plan(), MODEL + b"\0", tmp_path / "keys")


def test_a_token_is_for_one_device_and_names_the_key_that_answers(ours: Federation) -> None:
    token = parse(ours.founded.token("pump-1"))
    assert (token.federation, token.device, token.receipt_key) == (
        "pumps",
        "pump-1",
        ours.founded.public_keys["receipt"],
    )


def test_the_ledger_holds_no_tokens_secret(ours: Federation) -> None:
    token = parse(ours.founded.token("pump-1"))
    assert token.secret.encode() not in repr(ours.everything()).encode()
    assert bytes.fromhex(token.secret) != ours.row(TOKENS, device="pump-1")["secret"]


def test_a_new_token_voids_the_one_before(ours: Federation) -> None:
    older = ours.enrolment("pump-1")
    newer = ours.enrolment("pump-1")
    assert ours.book(older) == []
    assert len(ours.book(newer)) == 1


def test_no_token_is_made_for_a_device_that_belongs(ours: Federation) -> None:
    ours.enrol("pump-1")
    with pytest.raises(Misconfigured, match="enrolled already"):
        ours.founded.token("pump-1")


def test_a_name_that_no_topic_could_hold_gets_no_token(ours: Federation) -> None:
    with pytest.raises(Misconfigured, match="a device's name"):
        ours.founded.token("pump/1")


def test_a_federation_that_was_founded_earlier_is_opened_with_its_keys(ours: Federation) -> None:
    assert open_founded(str(ours.ledger.engine.url), "pumps").public_keys == ours.founded.public_keys


@pytest.mark.parametrize("content", ["", "ab" * 31, "no key"])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "receipt.key").write_text(content)
    with pytest.raises(Misconfigured, match="64 hexadecimal digits"):
        keys.read(tmp_path, "receipt")
