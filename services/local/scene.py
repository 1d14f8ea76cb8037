"""What people see of the demo: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from types import TracebackType

    from services.local.sight import Row

COLUMNS: Final = ("window", "invited", "in", "late", "refused", "accuracy", "ε", "bytes up", "seconds")
MOST_LINES: Final = 14


class Scene:
    """The table of windows and the lines below it; without a terminal each is printed once, when it is final."""

    def __init__(self, console: Console) -> None:
        """An empty scene."""
        self._console = console
        self._live = Live(console=console, refresh_per_second=8, transient=False) if console.is_terminal else None
        self._lines: list[str] = []
        self._rows: list[tuple[str, ...]] = []
        self._printed = 0

    def __enter__(self) -> Self:
        if self._live:
            self._live.__enter__()
        else:
            self._console.print("  ".join(f"{name:>8}" for name in COLUMNS))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, trace)

    def happened(self, line: str) -> None:
        """Something happened that is worth a line."""
        self._lines.append(line)
        if self._live:
            self._draw()
        else:
            self._console.print(f"          · {line}")

    def show(self, rows: list[Row], accuracies: dict[int, float]) -> None:
        """The windows so far, with the accuracy of the releases that the subscriber has verified."""
        self._rows = [_cells(row, accuracies) for row in rows]
        if self._live:
            self._draw()
            return
        while self._printed < len(rows) and _is_final(rows[self._printed], accuracies):
            self._console.print("  ".join(f"{cell:>8}" for cell in self._rows[self._printed]))
            self._printed += 1

    def _draw(self) -> None:
        table = Table(*COLUMNS, box=None, pad_edge=False, header_style="bold")
        for cells in self._rows:
            table.add_row(*cells)
        lines = [Text(f"· {line}", style="cyan") for line in self._lines[-MOST_LINES:]]
        if self._live:
            self._live.update(Group(table, Text(), *lines))


def _is_final(row: Row, accuracies: dict[int, float]) -> bool:
    return row.state != "open" and (row.version is None or row.version in accuracies)


def _cells(row: Row, accuracies: dict[int, float]) -> tuple[str, ...]:
    accuracy = accuracies.get(row.version) if row.version is not None else None
    return (
        str(row.window),
        str(row.invited),
        str(row.counted) if row.state == "released" else row.state,
        str(row.late),
        str(row.refused),
        "" if accuracy is None else f"{accuracy:.3f}",
        "" if row.epsilon is None else f"{row.epsilon:.1f}",
        f"{row.bytes_up:,}",
        "" if row.seconds is None else f"{row.seconds:.1f}",
    )
