"""What can be seen of a federation from outside: rows of its ledger, and lines that its processes print."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from mizzle.codec import decode
from mizzle.envelope import unseal
from mizzle.messages import Receipt, Refused, Update, Window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One window, as the demo's table shows it: `late` of those `counted` in it had trained for an earlier one.

    ε is the device-level loss after it.
    """

    window: int
    state: str
    invited: int
    counted: int
    late: int
    refused: int
    bytes_up: int
    seconds: float | None
    version: int | None
    epsilon: float | None


class Sight:
    """A reader of the ledger's file; it never writes, and sees only what is committed."""

    def __init__(self, ledger: Path, federation: str) -> None:
        """A look at the ledger of `federation` in the SQLite file `ledger`."""
        self._connection = sqlite3.connect(f"{ledger.resolve().as_uri()}?mode=ro", uri=True)
        self._federation = federation

    def close(self) -> None:
        """Look no more."""
        self._connection.close()

    def rows(self) -> list[Row]:
        """Every window so far, oldest first."""
        query = (
            "SELECT w.number, w.state, w.body, w.opened_at, w.ended_at, w.version, r.manifest FROM windows w"
            " LEFT JOIN releases r"
            " ON r.federation = w.federation AND r.version = w.version WHERE w.federation = ? ORDER BY w.number"
        )
        return [self._row(*found) for found in self._ask(query)]

    def newest(self) -> tuple[int, str]:
        """The newest window's number and state; before the first, 0 and nothing."""
        query = "SELECT number, state FROM windows WHERE federation = ? ORDER BY number DESC LIMIT 1"
        number, state = next(self._ask(query), (0, ""))
        return int(number), str(state)

    def has_released_after(self, window: int) -> bool:
        """Whether a window was released that comes after this one."""
        query = "SELECT 1 FROM windows WHERE federation = ? AND number > ? AND state = 'released' LIMIT 1"
        return next(self._ask(query, window), None) is not None

    def states(self) -> dict[str, int]:
        """How many windows there are of each state."""
        return dict(self._ask("SELECT state, count(*) FROM windows WHERE federation = ? GROUP BY state"))

    def members(self, window: int) -> set[bytes]:
        """The updates that are bound to an open window and not ended."""
        query = "SELECT id FROM updates WHERE federation = ? AND window = ? AND outcome = 'open'"
        return {found[0] for found in self._ask(query, window)}

    def counted_of(self, members: set[bytes]) -> int:
        """How many of these updates are counted by now."""
        counted = self._ask("SELECT id FROM updates WHERE federation = ? AND outcome = 'counted'")
        return len(members & {found[0] for found in counted})

    def devices(self) -> set[str]:
        """Those of which an update is counted."""
        query = "SELECT DISTINCT device FROM updates WHERE federation = ? AND outcome = 'counted'"
        return {device for (device,) in self._ask(query)}

    def refusals(self) -> list[tuple[bytes, str, int, str]]:
        """Every refused update: its id, device, named window, and why, as its receipt says it."""
        query = "SELECT id, device, named_window, receipt FROM updates WHERE federation = ? AND outcome = 'refused'"
        return [(key, device, window, _why(receipt)) for key, device, window, receipt in self._ask(query)]

    def folds(self) -> list[tuple[bytes, str, int, int, int]]:
        """Every late update that was counted: its id, device, named window, the window it is counted in, its weight."""
        return list(
            self._ask(
                "SELECT id, device, named_window, window, weight FROM updates"
                " WHERE federation = ? AND outcome = 'counted' AND window > named_window"
            )
        )

    def open_updates(self) -> int:
        """How many admitted updates have not ended yet."""
        return int(next(self._ask("SELECT count(*) FROM updates WHERE federation = ? AND outcome = 'open'"))[0])

    def halt(self) -> tuple[str, str] | None:
        """Why no window opens any more, if so: the reason, and a sentence."""
        found = next(self._ask("SELECT halted, halted_why FROM federations WHERE federation = ?"), None)
        return (found[0], found[1]) if found and found[0] else None

    def _row(self, number: int, state: str, body: bytes, opened: int, *end: Any) -> Row:  # noqa: ANN401  # SQL's own types
        ended, version, manifest = end
        named = list(self._ask("SELECT outcome, sealed FROM updates WHERE federation = ? AND named_window = ?", number))
        counted = [
            of
            for (of,) in self._ask(
                "SELECT named_window FROM updates WHERE federation = ? AND window = ? AND outcome = 'counted'", number
            )
        ]
        return Row(
            window=number,
            state=state,
            invited=len(decode(body, Window).cohort),
            counted=len(counted),
            late=sum(1 for of in counted if of != number),
            refused=sum(1 for outcome, _ in named if outcome == "refused"),
            bytes_up=sum(_bytes(sealed) for _, sealed in named),
            seconds=(ended - opened) / 1000 if ended else None,
            version=version,
            epsilon=_epsilon(manifest) if manifest else None,
        )

    def _ask(self, query: str, *more: int) -> Iterator[tuple[Any, ...]]:
        return iter(self._connection.execute(query, (self._federation, *more)).fetchall())


@dataclass
class Lines:
    """The JSON lines that a process prints, as they come; other lines are passed over."""

    path: Path
    _at: int = 0
    seen: list[dict[str, Any]] = field(default_factory=list)

    def new(self) -> list[dict[str, Any]]:
        """The objects printed since the last call."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as log:
            log.seek(self._at)
            body = log.read()
        whole = body[: body.rfind(b"\n") + 1]
        self._at += len(whole)
        found = [_parsed(line) for line in whole.splitlines() if line.startswith(b"{")]
        fresh = [line for line in found if line is not None]
        self.seen += fresh
        return fresh


def waiting(homes: Path) -> int:
    """How many updates still wait in the outboxes of the devices for their receipts."""
    return sum(_waiting(home / "outbox.db") for home in homes.iterdir())


def _waiting(outbox: Path) -> int:
    if not outbox.exists():
        return 1
    connection = sqlite3.connect(f"{outbox.resolve().as_uri()}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM waiting").fetchone()[0])
    except sqlite3.OperationalError:  # it is being made
        return 1
    finally:
        connection.close()


def waiting_ids(homes: Path) -> set[bytes]:
    """The updates that wait in the outboxes of the devices; of one that is being made, none."""
    return {update for home in homes.iterdir() for update in _ids(home / "outbox.db", "waiting")}


def ended_ids(homes: Path) -> set[bytes]:
    """The updates whose receipts the devices have."""
    return {update for home in homes.iterdir() for update in _ids(home / "outbox.db", "receipts")}


def _ids(outbox: Path, table: Literal["waiting", "receipts"]) -> list[bytes]:
    if not outbox.exists():
        return []
    with closing(sqlite3.connect(f"{outbox.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            return [update for (update,) in connection.execute(f"SELECT id FROM {table}")]  # noqa: S608  # our own
        except sqlite3.OperationalError:  # it is being made
            return []


def stored(payloads: Path) -> list[str]:
    """What the payload store holds for as long as somebody may want it: payloads that are complete, and sums."""
    return sorted(path.name for path in payloads.glob("*/*") if path.parent.name not in {"kept", "coming"})


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


def _bytes(sealed: bytes) -> int:
    return len(sealed) + decode(unseal(sealed).header, Update).payload.size


def _why(sealed: bytes) -> str:
    outcome = decode(unseal(sealed).header, Receipt).outcome
    return f"{outcome.reason}: {outcome.why}" if isinstance(outcome, Refused) else ""


def _epsilon(manifest: bytes) -> float | None:
    """What a manifest claims; None where its federation claims nothing."""
    claimed: float | None = json.loads(base64.b64decode(json.loads(manifest)["payload"]))["privacy"]["epsilon"]
    return claimed
