"""A power cut at any byte of the outbox's files leaves the state before a call or after it, and nothing else.

What a call changed on the disk is known from copies before and after it. Between the two the disk may hold any prefix
of what was written, with nothing or with noughts where the rest was to be. Each of these is opened as the device would
after the cut. `make power` cuts at every byte; otherwise at every byte around the edges of SQLite's frames and pages,
where things change, and at some of those between.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from mizzle.device.outbox import Outbox

ONE, TWO = b"\1" * 32, b"\2" * 32
SEALED, PAYLOAD, RECEIPT = b"sealed" * 20, b"payload" * 30, b"receipt" * 20
FILES: Final = ("outbox.db", "outbox.db-wal")

EVERY: Final = bool(os.environ.get("MIZZLE_EVERY_BYTE"))
MEMORY: Final = Path("/dev/shm")  # noqa: S108  # a folder of its own is made in it: a cut is not the disk's work
WAL_HEADER, FRAME_HEADER, PAGE = 32, 24, 4096
"""https://www.sqlite.org/fileformat.html#the_write_ahead_log"""

State = tuple[tuple[bytes, ...], tuple[bytes, ...], int, bytes | None]
Disk = dict[str, bytes]
Call = Callable[[Outbox], object]


def prepared(outbox: Outbox) -> None:
    outbox.reserve(256)
    outbox.keep(ONE, 7, SEALED, PAYLOAD)
    outbox.sent(ONE)


CALLS: Final[dict[str, Call]] = {
    "keep": lambda outbox: outbox.keep(TWO, 8, SEALED, PAYLOAD, b"what the codec lost"),
    "clear": lambda outbox: outbox.clear(ONE, RECEIPT),
    "reserve": lambda outbox: outbox.reserve(256),
    "remember": lambda outbox: outbox.remember_identity(b"identity"),
    "sent": lambda outbox: outbox.sent(ONE),
}


def state(outbox: Outbox) -> State:
    """Everything that a device goes by, its count of sends aside, which nothing depends on."""
    return tuple(one.id for one in outbox.waiting()), tuple(outbox.receipts()), outbox.counter, outbox.identity


def disk(folder: Path) -> Disk:
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}


def opened(folder: Path, found: Disk) -> State:
    """What a device finds after the cut, its payloads included."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, body in found.items():
        (folder / name).write_bytes(body)
    with Outbox(folder / "outbox.db") as outbox:
        after = state(outbox)
        assert all(outbox.payload(update) == (SEALED, PAYLOAD) for update in after[0])
        return after


def torn(before: bytes, after: bytes, at: int) -> Iterator[bytes]:
    """What a file may be that was cut off at this byte while it was written anew: short, or long and not filled."""
    yield after[:at] + before[at:]
    if len(after) > len(before):
        yield after[:at] + b"\0" * (len(after) - at)


def cuts(before: bytes, after: bytes, unit: int, start: int = 0) -> Iterator[int]:
    """Where the writing may have been cut: from the first byte that differs to the end."""
    first = next((at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), len(before))
    assert len(after) - first > PAGE
    for at in range(first, len(after)):
        into = (at - start) % unit
        if EVERY or into <= FRAME_HEADER + 1 or into >= unit - 2 or into % 97 == 0:
            yield at


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as made:
        yield Path(made)


@pytest.mark.parametrize("name", CALLS)
def test_a_power_cut_at_any_byte_of_a_write_leaves_the_old_state_or_the_new(folder: Path, name: str) -> None:
    with Outbox(folder / "outbox.db") as outbox:
        prepared(outbox)
        before, old = disk(folder), state(outbox)
        CALLS[name](outbox)
        after, new = disk(folder), state(outbox)
    assert before["outbox.db"] == after["outbox.db"]
    was, wal = before["outbox.db-wal"], after["outbox.db-wal"]
    found = [
        opened(folder / "again", {**before, "outbox.db-wal": left})
        for at in cuts(was, wal, FRAME_HEADER + PAGE, WAL_HEADER)
        for left in torn(was, wal, at)
    ]
    assert set(found) <= {old, new}
    assert (found[0], opened(folder / "again", after)) == (old, new)


def test_a_power_cut_at_any_byte_of_a_checkpoint_loses_nothing(folder: Path) -> None:
    """What the log holds is copied into the file, and only then is the log let go."""
    with Outbox(folder / "outbox.db") as outbox:
        prepared(outbox)
        before, old = disk(folder), state(outbox)
    after = disk(folder)
    assert after.keys() == {"outbox.db"}
    was, file = before["outbox.db"], after["outbox.db"]
    for at in cuts(was, file, PAGE):
        for left in torn(was, file, at):
            assert opened(folder / "again", {**before, "outbox.db": left}) == old
    assert opened(folder / "again", after) == old
