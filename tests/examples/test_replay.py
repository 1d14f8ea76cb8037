"""The auditor's replay: what is honest comes out bit for bit, and what was touched is named."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nacl.public import PrivateKey

from examples.replay import NOT_FOUND, NOT_THE_SAME, OK, USAGE, main
from tests.ledgers import Books, honest


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Books:
    return honest(tmp_path_factory.mktemp("honest"))


@pytest.fixture
def books(original: Books, tmp_path: Path) -> Books:
    shutil.copytree(original.folder, tmp_path / "copy")
    return replace(original, folder=tmp_path / "copy")


def replay(books: Books, *more: str) -> int:
    return main([str(books.ledger), str(books.payloads), str(books.auditor_key), *more])


def ledger(books: Books, change: str, *values: Any) -> None:
    with closing(sqlite3.connect(books.ledger, isolation_level=None)) as store:
        assert store.execute(change, values).rowcount > 0


def of_another(books: Books, column: str) -> None:
    """Give release 3 what release 2 has in a column."""
    older = f"(SELECT {column} FROM releases WHERE version = 2)"  # noqa: S608  # our own names
    ledger(books, f"UPDATE releases SET {column} = {older} WHERE version = 3")  # noqa: S608


def payload(books: Books, device: str, window: int) -> Path:
    return next(books.payloads.glob(f"*/{books.ids[device, window].hex()}"))


def test_every_release_is_rebuilt_bit_for_bit_folded_updates_among_them(
    books: Books, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(books) == OK
    assert capsys.readouterr().out.splitlines() == [
        "release 1: window 1, 2 members, the same bit for bit",
        "release 2: window 2, 2 members, the same bit for bit",
        "release 3: window 3, 4 members, the same bit for bit",
        "release 4: window 4, 2 members, the same bit for bit",
        "4 releases rebuilt, every one bit for bit",
    ]


def test_momentum_is_carried_from_release_to_release(tmp_path: Path) -> None:
    assert replay(honest(tmp_path, "momentum", "beta = 0.9")) == OK


def test_a_strategy_that_it_does_not_know_is_said_to_be_none_it_can_replay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(honest(tmp_path, "median")) == NOT_THE_SAME
    assert "the strategy 'median' cannot be replayed" in capsys.readouterr().err


def test_json_gives_an_object_a_release(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(books, "--json") == OK
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["version"], line["members"]) for line in lines] == [(1, 2), (2, 2), (3, 4), (4, 2)]


def lost_half(books: Books) -> None:
    """An update less in the ledger, and the release says so too: the accuracy would be the same."""
    ledger(books, "UPDATE updates SET outcome = 'refused' WHERE id = ?", books.ids["c", 1])
    ledger(books, "UPDATE releases SET members = 3 WHERE version = 3")


def another_weight(books: Books) -> None:
    ledger(books, "UPDATE updates SET weight = 37 WHERE id = ?", books.ids["c", 1])


def another_seed(books: Books) -> None:
    ledger(books, "UPDATE windows SET body = (SELECT body FROM windows WHERE number = 2) WHERE number = 3")


def member_less(books: Books) -> None:
    ledger(books, "UPDATE updates SET outcome = 'refused' WHERE id = ?", books.ids["c", 1])


def lost_payload(books: Books) -> None:
    payload(books, "c", 1).unlink()


def altered_payload(books: Books) -> None:
    path = payload(books, "c", 1)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")


def swapped_payload(books: Books) -> None:
    payload(books, "c", 1).write_bytes(payload(books, "d", 1).read_bytes())


def swapped_id(books: Books) -> None:
    path = payload(books, "c", 1)
    path.rename(path.with_name("ab" * 32))
    ledger(books, "UPDATE updates SET id = ? WHERE id = ?", b"\xab" * 32, books.ids["c", 1])


def less_noise(books: Books) -> None:
    ledger(books, "UPDATE releases SET sigma = sigma / 2 WHERE version = 3")


def no_key(books: Books) -> None:
    ledger(books, "UPDATE releases SET noise_key = x'' WHERE version = 3")


def another_auditor(books: Books) -> None:
    ledger(books, "UPDATE releases SET noise_key = zeroblob(80) WHERE version = 3")


def altered_total(books: Books) -> None:
    ledger(
        books,
        "UPDATE blobs SET body = zeroblob(560) WHERE digest = (SELECT total_digest FROM releases WHERE version = 3)",
    )


def model_of_another(books: Books) -> None:
    of_another(books, "model_digest")


def total_of_another(books: Books) -> None:
    of_another(books, "total_digest")


def another_base(books: Books) -> None:
    of_another(books, "base_digest")


@pytest.mark.parametrize(
    ("meddle", "reason"),
    [
        (lost_half, "coordinate 0 of the noised sum is"),
        (another_weight, "coordinate 0 of the noised sum is"),
        (another_seed, "of the noised sum is"),
        (member_less, "it has 4 members, the ledger counts 3"),
        (lost_payload, "was not kept"),
        (altered_payload, "is not the one that its device signed"),
        (swapped_payload, "is not the one that its device signed"),
        (swapped_id, "is not named by what its device signed"),
        (less_noise, "of the noised sum is"),
        (no_key, "its noise cannot be drawn again"),
        (another_auditor, "sealed for another auditor, or damaged"),
        (altered_total, "or its bytes are others"),
        (model_of_another, "the models part at byte"),
        (total_of_another, "of the noised sum is"),
        (another_base, "it was made from model"),
    ],
)
def test_what_was_touched_is_named_and_nothing_after_it_is_believed(
    books: Books, meddle: Callable[[Books], None], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    meddle(books)
    assert replay(books) == NOT_THE_SAME
    told = capsys.readouterr()
    assert told.err.startswith("NOT THE SAME: release 3 (window 3): ")
    assert reason in told.err
    assert len(told.out.splitlines()) == 2


def test_another_auditors_key_opens_nothing(books: Books) -> None:
    books.auditor_key.write_text(bytes(PrivateKey(b"x" * 32)).hex())
    assert replay(books) == NOT_THE_SAME


def test_a_file_that_is_no_key_is_told_so(books: Books) -> None:
    books.auditor_key.write_text("a key")
    assert replay(books) == USAGE


def test_a_ledger_that_cannot_be_read_proves_nothing(books: Books) -> None:
    books.ledger.write_bytes(b"no ledger" * 100)
    assert replay(books) == NOT_THE_SAME


def test_a_ledger_that_is_not_there_is_told_so(books: Books) -> None:
    books.ledger.unlink()
    assert replay(books) == NOT_FOUND
