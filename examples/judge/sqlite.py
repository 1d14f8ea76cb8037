"""Rows of an SQLite file that somebody else may be writing: read at one instant, never written.

SQLite takes a value of any type in any column. A row with a cell of another type than its column promises is no row: it
is left out, and named.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Row = TypeVar("Row", bound=DataclassInstance)

_TYPES: Final[dict[str, type]] = {"int": int, "str": str, "bytes": bytes, "None": type(None)}


@contextmanager
def read(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees one instant of this file and cannot change it."""
    line = sqlite3.connect(f"{path.resolve().as_uri()}?{_way(path)}", uri=True, isolation_level=None)
    with closing(line):
        line.text_factory = _text
        line.execute("BEGIN")
        yield line


def _text(cell: bytes) -> str:
    """A cell of text, whatever its bytes: one that is none must not hide all the others."""
    return cell.decode(errors="replace")


def _way(path: Path) -> str:
    """Where no log of writes lies beside the file nobody has it open, and SQLite need not leave one there for us."""
    return "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"


def rows(line: sqlite3.Connection, table: str, kind: type[Row]) -> tuple[Row, ...]:
    """The rows of a table, in the columns that `kind` has fields for."""
    return tuple(kind(*row) for row in _cells(line, table, kind) if not _misfit(kind, row))


def has(line: sqlite3.Connection, table: str) -> bool:
    """Whether there is a table of this name."""
    asked = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return line.execute(asked, (table,)).fetchone() is not None


def misfits(line: sqlite3.Connection, table: str, kind: type[Row]) -> Iterator[str]:
    """The columns in which a row of this table has a value of another type."""
    for row in _cells(line, table, kind):
        for column in _misfit(kind, row):
            yield f"{table}.{column}"


def _cells(line: sqlite3.Connection, table: str, kind: type[Row]) -> Iterator[tuple[object, ...]]:
    columns = ", ".join(f'"{field.name}"' for field in fields(kind))
    return line.execute(f'SELECT {columns} FROM "{table}"')  # noqa: S608  # our own names


def _misfit(kind: type[Row], row: tuple[object, ...]) -> list[str]:
    """The fields that this row has a value of another type for; annotations are text here."""
    return [
        field.name
        for field, value in zip(fields(kind), row, strict=True)
        if type(value) not in {_TYPES[name] for name in str(field.type).split(" | ")}
    ]
