"""The accounts of a ledger: what they count, and that whatever is not accounted for is seen."""

from pathlib import Path

import pytest
from sqlalchemy import text

from services.ledger.budgets import most_spent
from services.ledger.conservation import Accounts, accounts
from services.ledger.engine import reading, writing
from services.ledger.tables import BUDGETS
from tests.services.federations import Federation, federation


@pytest.fixture
def pumps(tmp_path: Path) -> Federation:
    return federation(tmp_path)


def counted(pumps: Federation) -> Accounts:
    with reading(pumps.ledger.engine) as tx:
        return accounts(tx, "pumps")


def alter(pumps: Federation, statement: str) -> None:
    with writing(pumps.ledger.engine) as tx:
        assert tx.execute(text(statement)).rowcount == 1


def test_before_the_first_window_there_is_nothing(pumps: Federation) -> None:
    assert counted(pumps) == Accounts({}, {}, {}, {}, window=0, version=0, difference=0)


def test_updates_deliveries_and_windows_are_counted_by_sort(pumps: Federation) -> None:
    pumps.run()
    window = pumps.open(after=1)
    one, two = pumps.verdict("pump-1", window), pumps.verdict("pump-2", window, refused="it is too long")
    pumps.book(one, two, one)
    assert counted(pumps) == Accounts(
        outcomes={"counted": 3, "open": 1, "refused": 1},
        refused={"norm": 1},
        deliveries={"first": 5, "duplicate": 1},
        windows={"released": 1, "open": 1},
        window=2,
        version=1,
        difference=0,
    )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE updates SET receipt = NULL WHERE id = (SELECT min(id) FROM updates)",
        "UPDATE updates SET outcome = 'mislaid' WHERE id = (SELECT min(id) FROM updates)",
        "UPDATE deliveries SET count = count + 1 WHERE kind = 'first'",
        "UPDATE releases SET members = members + 1 WHERE version = 1",
        "DELETE FROM updates WHERE id = (SELECT min(id) FROM updates)",
        "UPDATE updates SET version = NULL WHERE id = (SELECT min(id) FROM updates)",
    ],
)
def test_what_is_not_accounted_for_makes_a_difference(pumps: Federation, statement: str) -> None:
    pumps.run()
    assert counted(pumps).difference == 0
    alter(pumps, statement)
    assert counted(pumps).difference > 0


def test_the_federations_loss_is_that_of_the_device_that_lost_most(pumps: Federation) -> None:
    pumps.run()
    spent = {row["device"]: row["settled"] + row["reserved"] for row in pumps.rows(BUDGETS)}
    with reading(pumps.ledger.engine) as tx:
        assert most_spent(tx, "pumps") == max(spent.values()) > 0
        assert most_spent(tx, "another") == 0
