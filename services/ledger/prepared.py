"""Statements of SQLAlchemy's that run with every update or batch: compiled once, then given to the driver as they are.

What SQLite does for one of them takes 7 µs, what SQLAlchemy's `execute` does around it 35 more; six of them admit an
update. They run on the connection of the open transaction and so belong to it like all others.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import sqlite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection
    from sqlalchemy.sql.expression import Executable


class Prepared:
    """A statement whose every value is a `bindparam`; a row of its result is a plain tuple."""

    def __init__(self, statement: Executable, columns: Sequence[str] = ()) -> None:
        """The statement; `columns` are those that an insert is given, where it names none itself."""
        self._statement, self._columns = statement, columns

    def first(self, tx: Connection, values: dict[str, Any]) -> tuple[Any, ...] | None:
        """The first row of what it finds or returns, None if there is none."""
        row: tuple[Any, ...] | None = self._run(tx, values).fetchone()
        return row

    def all(self, tx: Connection, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """All rows of what it finds."""
        rows: list[tuple[Any, ...]] = self._run(tx, values).fetchall()
        return rows

    def scalar(self, tx: Connection, values: dict[str, Any]) -> Any:  # noqa: ANN401  # SQL's own types
        """The first column of the first row, None if there is none."""
        row = self.first(tx, values)
        return row[0] if row else None

    def changed(self, tx: Connection, values: dict[str, Any]) -> int:
        """How many rows it has changed."""
        return int(self._run(tx, values).rowcount)

    def _run(self, tx: Connection, values: dict[str, Any]) -> Any:  # noqa: ANN401  # the driver's own cursor
        text, names, fixed = self._compiled
        given = {**fixed, **values} if fixed else values
        driver: Any = tx.connection.dbapi_connection
        return driver.execute(text, [given[name] for name in names])

    @cached_property
    def _compiled(self) -> tuple[str, Sequence[str], dict[str, Any]]:
        """Its text, the names of its values in their order, and those values that are part of the statement."""
        compiled = self._statement.compile(dialect=sqlite.dialect(), column_keys=self._columns or None)  # type: ignore[attr-defined]
        own = {name: value for name, value in compiled.params.items() if not compiled.binds[name].required}
        return str(compiled), compiled.positiontup or (), own
