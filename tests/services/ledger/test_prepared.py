"""A prepared statement does what SQLAlchemy would have done with it."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Engine, bindparam, column, insert, select, table, update
from sqlalchemy import text as sql

from mizzle.errors import Away
from services.ledger.engine import connect, reading, writing
from services.ledger.prepared import Prepared

T = table("t", column("a"), column("b"))
ADD = Prepared(insert(T), ["a", "b"])
FIND = Prepared(select(T.c.b).where(T.c.b != "never", T.c.a == bindparam("wanted")))
MOVE = Prepared(update(T).where(T.c.b == bindparam("old"), T.c.a > 1).values(b=bindparam("new")).returning(T.c.a))


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = connect(f"sqlite:///{tmp_path / 'ledger.db'}", new=True)
    with writing(made) as tx:
        tx.execute(sql("CREATE TABLE t (a, b)"))
        for number, word in ((1, "x"), (2, "x"), (3, "y")):
            ADD.changed(tx, {"b": word, "a": number})
    return made


def test_values_go_by_name_and_those_of_the_statement_itself_stay(engine: Engine) -> None:
    with reading(engine) as tx:
        assert FIND.first(tx, {"wanted": 3}) == ("y",)
        assert FIND.scalar(tx, {"wanted": 2}) == "x"
        assert FIND.scalar(tx, {"wanted": 9}) is None


def test_it_tells_what_it_returns_and_how_many_rows_it_changed(engine: Engine) -> None:
    with writing(engine) as tx:
        assert MOVE.scalar(tx, {"old": "x", "new": "z"}) == 2
        assert Prepared(update(T).values(b=bindparam("new"))).changed(tx, {"new": "w"}) == 3


def test_it_belongs_to_the_transaction_that_it_runs_in(engine: Engine) -> None:
    with pytest.raises(LookupError):
        move_and_fail(engine)
    with reading(engine) as tx:
        assert FIND.scalar(tx, {"wanted": 2}) == "x"


def test_a_file_that_cannot_be_written_is_away(engine: Engine) -> None:
    with reading(engine) as tx:
        tx.execute(sql("PRAGMA query_only = ON"))  # of the one connection that the engine has
    with pytest.raises(Away, match="readonly"), writing(engine) as tx:
        ADD.changed(tx, {"a": 4, "b": "x"})


def move_and_fail(engine: Engine) -> None:
    with writing(engine) as tx:
        MOVE.changed(tx, {"old": "x", "new": "z"})
        raise LookupError


def test_what_the_driver_says_against_a_row_is_not_swallowed(engine: Engine) -> None:
    with writing(engine) as tx:
        tx.execute(sql("CREATE UNIQUE INDEX once ON t (a)"))
    with pytest.raises(sqlite3.IntegrityError), writing(engine) as tx:
        ADD.changed(tx, {"a": 1, "b": "x"})
