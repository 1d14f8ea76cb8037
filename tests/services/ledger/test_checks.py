"""A ledger that agrees with itself says so in every line, and each thing that does not is named in its own."""

from pathlib import Path

import pytest
from sqlalchemy import text

from services.ledger import audit, past, restorations
from services.ledger.checks import checked
from services.ledger.engine import reading, writing
from services.ledger.restorations import Seen
from tests.services.federations import DEVICES, Federation, federation, opening
from tests.services.plans import plan

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
            "UPDATE releases SET total_digest = (SELECT min(digest) FROM blobs) WHERE version = 2",
            {"pumps releases"},
        ),
        ("UPDATE updates SET staleness = 1 WHERE version = 1 AND device = 'pump-1'", {"pumps charges"}),
        ("UPDATE updates SET weight = 45 WHERE outcome = 'open'", {"pumps charges"}),
        ("UPDATE charges SET window = 1 WHERE version = 2", {"pumps charges"}),
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


LOWERED = "UPDATE charges SET loss = loss - 1 WHERE device = 'pump-1' AND version = 1"
PAID_BY_ANOTHER = "UPDATE charges SET device = 'pump-2' WHERE device = 'pump-1' AND version = 1"
RECKONED = """
UPDATE budgets SET settled = (
    SELECT coalesce(sum(loss), 0) FROM (
        SELECT device, loss FROM charges WHERE state = 'settled' UNION ALL SELECT device, loss FROM surcharges
    ) AS paid WHERE paid.device = budgets.device
)
"""
"""Every budget the sum of its charges, as whoever lowers one would make it."""


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        (LOWERED, "pumps charges"),
        ("UPDATE charges SET loss = 0 WHERE state = 'void'", "pumps charges"),
        (PAID_BY_ANOTHER, "pumps updates"),
    ],
)
def test_a_charge_that_was_changed_together_with_its_budget_is_found(
    ours: Federation, statement: str, where: str
) -> None:
    """What an update costs follows from the plan and the windows, whatever the sums say."""
    assert wrong(ours, statement, RECKONED) == {where}


def test_a_lowered_charge_of_the_second_update_of_a_device_in_a_window_is_found(tmp_path: Path) -> None:
    """It costs more than the first: one draw of noise covers both, and their sensitivities add."""
    made = federation(tmp_path, plan(mode="buffered"))
    first = made.open()
    made.give_up(first)
    second = made.open(after=1)
    verdicts = [made.verdict("pump-1", first), made.verdict("pump-1", second), made.verdict("pump-2", second)]
    made.charge(*verdicts)
    candidate, attached = made.candidate(second, verdicts)
    made.book(candidate, attached=attached)
    assert wrong(made) == set()
    dearer = "UPDATE charges SET loss = loss - 1 WHERE loss = (SELECT max(loss) FROM charges)"
    assert wrong(made, dearer, RECKONED) == {"pumps charges"}


def test_an_update_that_waits_for_another_window_after_it_was_charged_is_well(tmp_path: Path) -> None:
    made = federation(tmp_path)
    window, verdicts = made.filled()
    candidate, attached = made.candidate(window, verdicts[:2])
    made.book(candidate, attached=attached)
    assert wrong(made) == set()
    assert wrong(made, "UPDATE charges SET loss = loss - 1 WHERE state = 'reserved'") == {"pumps charges", "budgets"}
    made.open(after=1)
    assert wrong(made) == set()


@pytest.fixture(scope="module")
def restored(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """It was restored, went on, and is marked again: twice, and waits."""
    made = federation(tmp_path_factory.mktemp("restored"))
    made.run()
    mark(made)
    resume(made, 3, 5)
    made.begin_again()
    made.book(opening(1, DEVICES))
    made.run(after=5)
    mark(made)
    mark(made)
    return made


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE restorations SET version = 1 WHERE number = 1",
        "UPDATE restorations SET version = 4 WHERE number = 2",
        "UPDATE restorations SET window = 9 WHERE number = 2",
        "UPDATE restorations SET window = 4 WHERE number = 1",
        "UPDATE restorations SET because = 'nothing' WHERE number = 1",
        "UPDATE restorations SET base_version = 5 WHERE number = 1",
        "UPDATE restorations SET resumed_at = 3 WHERE number = 1",
        "UPDATE restorations SET resumed_at = 3 WHERE number = 2",
        "UPDATE restorations SET why = '' WHERE number = 1",
        "DELETE FROM restorations WHERE number = 2",
        "DELETE FROM restorations WHERE number = 1",
        "DELETE FROM surcharges WHERE device = 'pump-1'",
        "UPDATE surcharges SET loss = loss - 1 WHERE device = 'pump-4'",
        "UPDATE surcharges SET restoration = 2 WHERE device = 'pump-4'",
        "INSERT INTO surcharges (federation, device, restoration, loss) VALUES ('pumps', 'pump-1', 2, 5)",
    ],
)
def test_a_restoration_that_was_changed_is_found_and_so_is_what_devices_paid_for_it(
    restored: Federation, statement: str
) -> None:
    assert wrong(restored) == set()
    assert wrong(restored, statement, RECKONED) == {"pumps restorations"}


def test_a_mark_of_an_older_program_says_no_numbers_and_is_known_by_what_the_ledger_has(tmp_path: Path) -> None:
    made = federation(tmp_path)
    made.run()
    mark(made)
    older = """UPDATE audit SET body = '{"why":"a test"}' WHERE action = 'ledger.restored'"""
    assert wrong(made, older) == {"audit"}
    assert wrong(made, older, "UPDATE restorations SET version = 0") == {"audit", "pumps restorations"}
    assert wrong(made, "UPDATE audit SET body = 'no JSON' WHERE seq > 1") >= {"audit", "pumps restorations"}


def test_who_enrols_after_a_ledger_went_on_pays_nothing_for_what_was_lost(tmp_path: Path) -> None:
    made = federation(tmp_path, enrol=DEVICES[:3])
    mark(made)
    resume(made, 1, 1)
    made.begin_again()
    made.enrol("pump-4")
    assert wrong(made) == set()
