"""A federation that was hurt is judged; each of the ways in which it may fail is shown, and fails."""

import io
import json
import shutil
import sqlite3
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from mizzle.errors import Misconfigured
from mizzle.parts import First, read
from services.local.broker import brokers
from services.local.chaos import OK, UNHEALTHY, WRONG, Run, durability, lived, told
from services.local.faults import Mode
from services.local.inflict import inflict
from services.local.janitor import workplace
from services.local.judgement import Judgement, judged, need_judge
from services.local.misfortune import Kind, Misfortune
from services.local.ordeal import Ordeal, Terms, ordeal
from services.local.sight import waiting
from tests.servers import missing

pytestmark = pytest.mark.xdist_group("chaos")

SEED = 3


@dataclass(frozen=True)
class Lived:
    folder: Path
    run: Run
    judgement: Judgement


@pytest.fixture(scope="module")
def past() -> Iterator[Lived]:
    """A short run of chaos, and what is left of it."""
    need_mosquitto()
    run = Run(seed=SEED, minutes=0.25, devices=12, aof=durability(SEED))
    with workplace() as folder:
        yield Lived(folder, run, lived(folder, run))


def test_what_was_hurt_and_healed_has_lost_nothing_and_doubled_nothing(past: Lived, tmp_path: Path) -> None:
    console, report = silent(), tmp_path / "chaos.json"
    assert told(past.run, past.judgement, console, report) == OK, said(console)
    found = json.loads(report.read_text())
    zeros = ("lost", "doubled", "receipts_without_ledger_row", "conservation_difference")
    assert {name: found[name] for name in zeros} == dict.fromkeys(zeros, 0)
    assert found["faults"] == sum(found["faults_by_kind"].values()) >= 3
    assert found["counted"] > 0 < found["windows_released"]
    assert found["updates"] == found["counted"] + found["refused"] + found["abandoned"]


def test_a_receipt_that_is_deleted_from_the_ledger_afterwards_is_found(past: Lived, tmp_path: Path) -> None:
    """The negative control: a verdict that finds nothing here would say nothing."""
    wounded = judged_again(past, tmp_path, "UPDATE updates SET receipt = NULL WHERE outcome = 'counted'")
    console = silent()
    assert told(past.run, wounded, console) == WRONG
    assert "receipt-missing" in said(console)


def test_a_row_that_is_deleted_from_the_ledger_afterwards_is_found(past: Lived, tmp_path: Path) -> None:
    row = "SELECT min(id) FROM updates WHERE outcome = 'counted'"
    wounded = judged_again(past, tmp_path, f"DELETE FROM updates WHERE id = ({row})")  # noqa: S608  # our own words
    assert told(past.run, wounded, silent()) == WRONG
    assert (wounded.lost, wounded.receipts_without_ledger_row, wounded.conservation_difference) == (1, 1, 1)


def test_a_clean_window_that_comes_late_is_not_well(past: Lived) -> None:
    console = silent()
    assert told(replace(past.run, clean_window_s=10.4), past.judgement, console) == UNHEALTHY
    assert "the first clean window came 10.4 s after healing, wanted 10" in said(console)


def test_too_few_faults_prove_nothing(past: Lived) -> None:
    console = silent()
    assert told(replace(past.run, faults=Counter({"cut a line": 2})), past.judgement, console) == UNHEALTHY
    assert "2 faults in 15 s are too few, wanted 3 at least" in said(console)


def test_what_never_drained_is_not_well(past: Lived) -> None:
    stuck = msgspec.structs.replace(past.judgement, seen={**past.judgement.seen, "waiting": 2})
    console = silent()
    assert told(replace(past.run, troubles=["empty outboxes were wanted"]), stuck, console) == UNHEALTHY
    assert "2 updates still wait, 0 are still open" in said(console)


def test_a_checkout_without_a_judge_is_told_so_before_anything_is_hurt(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"`python -m examples.judge`, is not in this checkout"):
        need_judge(tmp_path)


@pytest.mark.parametrize(
    ("script", "may_lose"), [("services.local.novice", False), ("tests.services.local.forgetful", True)]
)
def test_a_device_that_clears_on_a_puback_loses_updates_with_a_broker_that_dies(*, script: str, may_lose: bool) -> None:
    """The same fault, a device of ours beside one that takes a PUBACK for a promise: the verdict tells them apart."""
    need_mosquitto()
    with workplace() as folder, ordeal(folder, Terms(devices=8, fleets=1, script=script)) as there:
        there.first_window()
        invited = len(bodies(there, "/invitation"))
        there.wait_until(lambda: len(bodies(there, "/invitation")) > invited, 20, "an invitation")
        there.ways["gateway"].switch(Mode.CUT)  # the broker takes what devices send now, and keeps it for the gateway
        there.wait_until(lambda: bool(heard(there) - in_ledger(there)), 20, "an update at the broker")
        if may_lose:
            there.wait_until(lambda: waiting(there.federation.homes) == 0, 20, "devices that forget")
        inflict(there, Misfortune(0.0, Kind.WIPE_BROKER, "broker"))
        there.heal()
        there.clean_window(within_s=20)
        there.drain()
        found = there.verdict()
    assert (found.lost > 0) == may_lose
    assert found.is_clean != may_lose


def in_ledger(there: Ordeal) -> set[bytes]:
    """The updates that the ledger knows."""
    with reading(there.federation.ledger_file) as ledger:
        return {update for (update,) in ledger.execute("SELECT id FROM updates")}


def heard(there: Ordeal) -> set[bytes]:
    """The updates that the broker has taken, and so acknowledged: the witness heard them from it."""
    parts = map(read, bodies(there, "/update"))
    return {first.envelope.id for first in parts if isinstance(first, First)}


def bodies(there: Ordeal, kind: str) -> list[bytes]:
    """What the witness heard of this kind."""
    there.witness.written()
    lines = [json.loads(line) for line in there.trace.read_text().splitlines()]
    return [b64decode(line["body"]) for line in lines if line["topic"].endswith(kind)]


def reading(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True))


def judged_again(past: Lived, folder: Path, wound: str) -> Judgement:
    """What the judge says of a copy whose ledger was changed afterwards."""
    there = folder / "copy"
    shutil.copytree(past.folder, there, ignore=shutil.ignore_patterns("broker", "store*", "log", "payloads"))
    with closing(sqlite3.connect(there / "ledger.db")) as ledger:
        ledger.execute(wound)
        ledger.commit()
    return judged(there / "ledger.db", there / "homes", folder / "judgement.json", trace=there / "trace.jsonl")


def need_mosquitto() -> None:
    if "mosquitto" not in brokers():
        missing("mosquitto")


def silent() -> Console:
    """One that shows nothing, and remembers what it was told."""
    return Console(file=io.StringIO(), width=200)


def said(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()
