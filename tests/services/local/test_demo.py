"""The demo, played once on real servers; then each of its claims is broken in a copy, and it must fail."""

import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from examples.watch import PLAN
from services.ledger.founding import planned
from services.local.demo import play
from services.local.federation import running
from services.local.janitor import workplace
from services.local.verdict import FAILED, OK, PRIVACY_REFUSED, Played, judged
from tests.lives import CHECKOUT, Lives, children_of

pytestmark = pytest.mark.xdist_group("demo")

KEYS = {
    "accuracy", "accuracy_alone", "windows", "received", "counted", "refused", "abandoned", "duplicate", "open",
    "conservation_difference", "killed", "rejoined", "release", "epsilon", "delta", "bytes_up_per_update", "wall_s",
}  # fmt: skip


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    plan, model = planned(PLAN)
    with workplace() as folder:
        with running(folder, plan, model, keep_payloads=True) as federation:
            found = play(federation, 1, silent())
        yield found


@pytest.fixture
def copied(played: Played, tmp_path: Path) -> Played:
    shutil.copytree(played.ledger.parent, tmp_path / "all", ignore=shutil.ignore_patterns("broker", "store", "log"))
    there = tmp_path / "all"
    return replace(
        played,
        ledger=there / played.ledger.name,
        homes=there / played.homes.name,
        payloads=there / played.payloads.name,
        auditor_key=there / played.auditor_key.name,
    )


def test_the_story_that_was_played_is_true(copied: Played, tmp_path: Path) -> None:
    report, console = tmp_path / "demo.json", silent()
    status = judged(copied, console, report)
    assert status == OK, said(console)
    told = json.loads(report.read_text())
    assert set(told) == KEYS
    assert (told["windows"], told["release"]) == (15, {"version": 15, "verified": True})
    assert [kill["members_before"] for kill in told["killed"]] == [kill["members_after"] for kill in told["killed"]]


def test_without_a_kill_it_fails(copied: Played) -> None:
    assert judged(replace(copied, killed=None), silent()) == FAILED


def test_with_a_dropped_receipt_it_fails(copied: Played) -> None:
    outbox = next(home / "outbox.db" for home in copied.homes.iterdir())
    alter(outbox, "DELETE FROM receipts WHERE number = (SELECT max(number) FROM receipts)")
    assert judged(copied, silent()) == FAILED


def test_with_a_doubled_member_it_fails(copied: Played) -> None:
    alter(copied.ledger, "UPDATE updates SET weight = 128 WHERE id = ?", a_member(copied.ledger))
    assert judged(copied, silent()) == FAILED


def test_with_a_lost_payload_of_a_member_it_fails(copied: Played) -> None:
    """A member's, not any file's: what was refused lies there too, and no release needs it."""
    (copied.payloads / "kept" / a_member(copied.ledger).hex()).unlink()
    assert judged(copied, silent()) == FAILED


def test_a_budget_that_stopped_it_is_told_by_its_status(copied: Played) -> None:
    assert judged(replace(copied, halt=("budget", "nobody has budget left")), silent()) == PRIVACY_REFUSED


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_system_that_is_up_leaves_nothing_behind(end: signal.Signals, tmp_path: Path) -> None:
    with up(tmp_path) as system:
        pids = children_of(system.pid)
        with Lives(pids) as lives:
            system.send_signal(end)
            assert lives.survivors(20.0) == set()
    assert list(tmp_path.glob("mizzle-*")) == []


@contextmanager
def up(temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """`make up`, once it has said how to leave it; its temporary files go into a folder of the test's own."""
    argv = [sys.executable, "-m", "services.local", "up", "--device", "pump-7"]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(argv, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, text=True) as system:
        assert system.stdout is not None
        said = []
        for line in system.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                break
        assert "MIZZLE_TOKEN=mzt1.watch-har.pump-7." in "".join(said)
        yield system


def alter(database: Path, statement: str, *values: bytes) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        assert connection.execute(statement, values).rowcount == 1


def a_member(ledger: Path) -> bytes:
    """The id of an update that is counted in a release with its full weight."""
    with closing(sqlite3.connect(ledger)) as connection:
        found: bytes = connection.execute("SELECT max(id) FROM updates WHERE weight = 64 AND version = 3").fetchone()[0]
    return found


def silent() -> Console:
    """One that shows nothing, and remembers what it was told."""
    return Console(file=io.StringIO(), width=200)


def said(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()
