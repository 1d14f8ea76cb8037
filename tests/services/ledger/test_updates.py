"""Updates: one that has ended stays as it ended, whoever tries to end it again."""

from pathlib import Path

import pytest

from services.ledger import updates
from services.ledger.tables import UPDATES
from services.ledger.updates import Ending
from tests.services.federations import Federation, federation


@pytest.fixture
def ours(tmp_path: Path) -> Federation:
    return federation(tmp_path)


def test_a_member_is_counted_only_while_it_is_open(ours: Federation) -> None:
    ours.run()
    before = ours.rows(UPDATES)
    with ours.ledger.write(ours.epoch) as tx:
        row = updates.find(tx, before[0]["id"])
        assert row is not None
        assert not updates.count(tx, row, Ending("counted", b"another receipt", 9, version=2))
    assert ours.rows(UPDATES) == before


def test_an_update_that_has_ended_keeps_its_receipt(ours: Federation) -> None:
    ours.run()
    before = ours.rows(UPDATES)
    with ours.ledger.write(ours.epoch) as tx:
        updates.end(tx, before[0]["id"], Ending("refused", b"another receipt", 9, "late"))
        updates.bind(tx, before[0]["id"], 7, 64, 0)
        updates.let_wait(tx, [before[0]["id"]])
    assert ours.rows(UPDATES) == before
