"""A federation on a clock that nobody waits for: whatever goes wrong, nothing is lost and nothing counts twice."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.absence import away
from tests.simulation.faults import CALM, MINUTE_MS, Rates
from tests.simulation.fleet_plan import Wish
from tests.simulation.judgement import judged
from tests.simulation.runs import Course, run, settle, simulated
from tests.simulation.scenarios import SCENARIOS, SMALL, Scenario

TREE = Path(__file__).parents[2]
SHORT = Course(wish=SMALL, rough_ms=10 * MINUTE_MS)
FLEET = Course(
    wish=Wish(devices=100, goal=12, quorum=6), rates=Rates(misfortune=0.002), rough_ms=4 * MINUTE_MS, look_every=10
)
DIGEST = "from tests.simulation.test_simulation import SHORT, run; print(run('again', SHORT).digest)"


@pytest.mark.parametrize("seed", ["a", "b"])
def test_a_small_fleet_loses_nothing_in_faults_of_every_kind(seed: str) -> None:
    assert run(seed, SHORT).updates > 0


@pytest.mark.parametrize("seed", ["d"])
def test_a_hundred_devices_lose_nothing(seed: str) -> None:
    assert run(seed, FLEET).updates > 0


def test_sixty_devices_come_back_after_a_day_and_a_week() -> None:
    assert away("week", 60).virtual_s > 8 * 24 * 3600


def test_the_same_seed_gives_the_same_history_in_any_process() -> None:
    """Chance, time and the order of acts come from the seed; sets and dictionaries have no say in it."""
    here = run("again", SHORT).digest
    environ = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(TREE)}
    there = subprocess.run(
        [sys.executable, "-c", DIGEST], cwd=TREE, env=environ, check=True, capture_output=True, text=True
    ).stdout.strip()
    assert here == there
    assert run("another", SHORT).digest != here


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name.replace(" ", "-"))
def test_what_was_found_once_stays_mended(scenario: Scenario) -> None:
    with simulated(scenario.name, scenario.course) as world:
        world.begin()
        world.scheduler.run_for(2 * MINUTE_MS)
        scenario.act(world)
        settle(world)
        judged(world.founding.folder, world.devices)


def test_every_point_between_two_effects_is_reached() -> None:
    with simulated("points", Course(wish=SMALL, rates=CALM)) as world:
        world.begin()
        world.scheduler.run_for(10 * MINUTE_MS)
        reached = Counter(point.partition(": ")[2] for point in world.reached)
    assert set(reached) == {
        *("before the place is taken", "after read", "before stream commit", "after stream commit"),
        *("before ledger commit", "after ledger commit", "after payload put", "before payload discard"),
        *("before append", "after append", "before ack", "after ack", "before delivery", "after delivery"),
        *("before publish", "after publish", "before outbox write", "after outbox write"),
        *("after receipt, before delete", "after delete"),
    }
