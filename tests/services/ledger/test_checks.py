"""A ledger that agrees with itself says so in every line, and each thing that does not is named in its own."""

from pathlib import Path

import pytest
from sqlalchemy import text

from services.ledger import audit, past, restorations
from services.ledger.checks import checked
from services.ledger.engine import reading, writing
from services.ledger.restorations import Seen
from tests.services.federations import DEVICES, Federation, federation, opening

CHECKS = (
    "file",
    "audit",
    *(
        f"pumps {name}"
        for name in ("accounts", "updates", "receipts", "windows", "releases", "charges", "restorations")
    ),
    "budgets",
    "blobs",
)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """A release, a window that was given up with a refused content in it, and one that is open."""
    made = federation(tmp_path_factory.mktemp("books"))
    made.run()
    window = made.open(after=1)
    made.charge(made.verdict("pump-1", window), made.verdict("pump-2", window, refused="it is too long"))
    made.give_up(window)
    made.run(after=2)
    made.charge(made.verdict("pump-1", made.open(after=3)))
    return made


def wrong(ours: Federation, *statements: str) -> set[str]:
    """Which checks find something, once these statements were run; they are undone."""
    with writing(ours.ledger.engine) as tx:
        attempt = tx.begin_nested()
        for statement in statements:
            assert tx.execute(text(statement)).rowcount >= 1
        found = {found.check for found in checked(tx) if not found.is_well}
        attempt.rollback()
    return found


def test_every_check_of_an_honest_ledger_is_well_and_says_what_it_looked_at(ours: Federation) -> None:
    with reading(ours.ledger.engine) as tx:
        found = list(checked(tx))
    assert [one.check for one in found] == list(CHECKS)
    assert [str(one) for one in found if not one.is_well] == []
    assert all(one.what for one in found)


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        ("UPDATE audit SET at = at + 1 WHERE seq = 2", {"audit"}),
        ("UPDATE deliveries SET count = count + 1 WHERE kind = 'first'", {"pumps accounts"}),
        ("UPDATE updates SET device = 'pump-4' WHERE outcome = 'open'", {"pumps updates"}),
        ("UPDATE updates SET sealed = zeroblob(200) WHERE outcome = 'open'", {"pumps updates"}),
        (
            "UPDATE updates SET receipt = (SELECT max(receipt) FROM updates) WHERE outcome = 'abandoned'",
            {"pumps receipts"},
        ),
        ("UPDATE updates SET weight = 63 WHERE device = 'pump-1' AND version = 1", {"pumps receipts"}),
        ("UPDATE updates SET reason = 'late' WHERE outcome = 'refused'", {"pumps receipts"}),
        ("UPDATE updates SET ended_at = 5 WHERE outcome = 'open'", {"pumps receipts"}),
        ("UPDATE windows SET state = 'open' WHERE number = 2", {"pumps windows"}),
        ("UPDATE windows SET version = 9 WHERE number = 1", {"pumps windows"}),
        ("UPDATE releases SET manifest = (SELECT manifest FROM releases WHERE version = 1)", {"pumps releases"}),
        ("UPDATE releases SET model_digest = zeroblob(32) WHERE version = 2", {"pumps releases"}),
        ("DELETE FROM blobs WHERE digest = (SELECT total_digest FROM releases WHERE version = 2)", {"pumps releases"}),
        ("UPDATE charges SET state = 'void' WHERE device = 'pump-3' AND version = 1", {"pumps charges", "budgets"}),
        ("UPDATE charges SET state = 'settled' WHERE state = 'reserved'", {"pumps charges", "budgets"}),
        ("DELETE FROM charges WHERE device = 'pump-1' AND version = 1", {"pumps charges", "budgets"}),
        ("UPDATE budgets SET settled = settled - 1 WHERE device = 'pump-1'", {"budgets"}),
        ("UPDATE blobs SET body = zeroblob(9) WHERE digest = (SELECT model_digest FROM federations)", {"blobs"}),
        (
            "INSERT INTO restorations (federation, number, at, why, version, window) VALUES ('pumps', 1, 0, '', 0, 0)",
            {"pumps restorations"},
        ),
    ],
)
def test_what_does_not_agree_is_named_by_the_check_that_it_is_of(
    ours: Federation, statement: str, where: set[str]
) -> None:
    assert wrong(ours, statement) == where


def test_rows_that_were_cleaned_up_are_in_every_sum(tmp_path: Path) -> None:
    made = federation(tmp_path)
    made.run()
    with writing(made.ledger.engine) as tx:
        assert past.tidy(tx, "pumps", 2**53) == 3
        assert [str(found) for found in checked(tx) if not found.is_well] == []
        assert "3 more were cleaned up" in next(found.what for found in checked(tx) if found.check == "pumps updates")
    assert wrong(made, "UPDATE past_updates SET count = count + 1") == {"pumps accounts"}
    assert wrong(made, "UPDATE past_devices SET settled = settled + 1 WHERE device = 'pump-1'") == {"budgets"}


def mark(ours: Federation) -> None:
    """As `restore` does."""
    act = audit.Act("pumps", 1, "operator", restorations.RESTORED, "pumps", {"why": "a test"})
    with writing(ours.ledger.engine) as tx:
        restorations.mark(tx, "pumps", act)


def resume(ours: Federation, version: int, window: int) -> None:
    with writing(ours.ledger.engine) as tx:
        restorations.resume(tx, "pumps", Seen(version, window), "I looked", 2)


def test_a_ledger_that_was_resumed_before_any_service_ran_is_well(tmp_path: Path) -> None:
    """Its window is open still, and the newest is the one that was skipped: once, and where it is marked again."""
    made = federation(tmp_path)
    made.run()
    made.charge(made.verdict("pump-1", made.open(after=1)))
    mark(made)
    resume(made, 3, 5)
    assert wrong(made) == set()
    assert wrong(made, "UPDATE windows SET state = 'open', version = NULL, ended_at = NULL WHERE number = 1") == {
        "pumps windows"
    }
    mark(made)
    assert wrong(made) == set()
    made.begin_again()
    made.book(opening(5, DEVICES))
    assert wrong(made) == set()
    resume(made, 4, 5)
    made.open(after=5)
    assert wrong(made) == set()
    assert wrong(made, "UPDATE windows SET state = 'open', ended_at = NULL WHERE number = 2") == {"pumps windows"}
