"""The audit chain: whatever is done to it afterwards is found."""

import hashlib
import json
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from mizzle.errors import Forged
from services.ledger import audit
from services.ledger.audit import Act, Head
from services.ledger.engine import connect, reading, writing
from services.ledger.migrate import migrate


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = connect(f"sqlite:///{tmp_path / 'ledger.db'}", new=True)
    migrate(made)
    with writing(made) as tx:
        for number in range(4):
            audit.append(tx, act(number))
    return made


def act(number: int) -> Act:
    return Act("pumps", 1000 + number, "privacy_accountant", "window.opened", str(number), {"é": number})


def verified(engine: Engine, known: Head | None = None) -> Head:
    with reading(engine) as tx:
        return audit.verify(tx, known)


def test_a_chain_that_nobody_touched_holds(engine: Engine) -> None:
    with reading(engine) as tx:
        assert audit.verify(tx) == audit.head(tx)
        assert audit.head(tx).seq == 4


def test_a_row_is_hashed_as_the_docstring_says(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'other.db'}", new=True)
    migrate(engine)
    with writing(engine) as tx:
        made = audit.append(tx, act(0))
    row = {"seq": 1, "federation": "pumps", "at": 1000, "actor": "privacy_accountant", "action": "window.opened"}
    row |= {"subject": "0", "body": '{"é":0}', "previous": "0" * 64}
    said = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert made == Head(1, hashlib.sha256(said).digest())


@pytest.mark.parametrize(
    ("deed", "row"),
    [
        ("UPDATE audit SET at = 0 WHERE seq = 2", 2),
        ("UPDATE audit SET federation = 'valves' WHERE seq = 3", 3),
        ("UPDATE audit SET actor = 'nobody' WHERE seq = 1", 1),
        ("UPDATE audit SET action = 'window.closed' WHERE seq = 4", 4),
        ("UPDATE audit SET subject = '9' WHERE seq = 2", 2),
        ("UPDATE audit SET body = '{\"é\": 1}' WHERE seq = 2", 2),
        ("UPDATE audit SET hash = zeroblob(32) WHERE seq = 4", 4),
        ("UPDATE audit SET previous = zeroblob(32) WHERE seq = 3", 3),
        ("UPDATE audit SET seq = 9 WHERE seq = 4", 9),
        ("DELETE FROM audit WHERE seq = 1", 2),
        ("DELETE FROM audit WHERE seq = 3", 4),
    ],
)
def test_a_chain_that_somebody_touched_breaks_at_that_row(engine: Engine, deed: str, row: int) -> None:
    with writing(engine) as tx:
        tx.execute(text(deed))
    with pytest.raises(Forged, match=f"breaks at row {row} "):
        verified(engine)


def test_a_chain_that_was_cut_off_is_found_by_a_head_noted_before(engine: Engine) -> None:
    noted = verified(engine)
    with writing(engine) as tx:
        tx.execute(text("DELETE FROM audit WHERE seq = 4"))
    assert verified(engine).seq == 3
    with pytest.raises(Forged, match="does not run through row 4"):
        verified(engine, noted)


def test_a_chain_that_was_written_anew_is_found_by_a_head_noted_before(engine: Engine) -> None:
    noted = verified(engine)
    with writing(engine) as tx:
        tx.execute(text("DELETE FROM audit WHERE seq = 4"))
        audit.append(tx, act(7))
        audit.append(tx, act(8))
    with pytest.raises(Forged, match="does not run through row 4"):
        verified(engine, noted)


def test_a_chain_that_went_on_runs_through_every_head_noted_before(engine: Engine) -> None:
    noted = verified(engine)
    with writing(engine) as tx:
        end = audit.append(tx, act(5))
    assert verified(engine, noted) == end
    assert verified(engine, Head(0, bytes(32))) == end
