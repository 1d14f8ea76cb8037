"""Who comes too late, beyond the goal, or to a window that too few come to: always a receipt, and what it cost."""

import subprocess
import sys
from pathlib import Path

import pytest

from mizzle.messages import Abandoned, Counted, Refused
from mizzle.plan import Plan
from services.ledger.tables import BUDGETS, CHARGES, RELEASES, WINDOWS
from tests.lives import CHECKOUT
from tests.services.conveyor import Conveyor, conveyor, names
from tests.services.plans import plan as plan_of

FOUR = names(4)
QUARTER = 2**32 // 4
"""What a full update costs under these plans: μ² = 1/4."""


def plan(mode: str = "rounds", late: str = "fold") -> Plan:
    """Three are a goal, four are invited."""
    return plan_of(mode=mode, late=late, goal=3, invite=1.34, staleness=2)


def stale_price(weight: int) -> int:
    return -(-(weight**2) * 2**32 // (2 * 64) ** 2)


def spent(ours: Conveyor, device: str) -> tuple[int, int]:
    """What a device has spent for ever, and what is reserved for it."""
    row = ours.ledger.row(BUDGETS, device=device)
    return row["settled"], row["reserved"]


def states(ours: Conveyor) -> list[str]:
    return [row["state"] for row in ours.ledger.rows(WINDOWS)]


MODES = pytest.mark.parametrize("mode", ["rounds", "buffered"])


@MODES
def test_who_comes_after_the_goal_was_reached_counts_in_the_next_window(tmp_path: Path, mode: str) -> None:
    """Over-selection: the fourth of four, when three had made the window's release already."""
    ours = conveyor(tmp_path, plan(mode), FOUR)
    first = ours.open(FOUR)
    for device in FOUR[:3]:
        ours.send(device, first)
    ours.tick()
    last = ours.send("pump-4", first)
    assert (ours.outcomes().get(last.id), spent(ours, "pump-4")) == (None, (0, 0))
    second = ours.open(FOUR[:3])
    assert spent(ours, "pump-4") == (0, stale_price(45))
    for device in FOUR[: 3 if mode == "rounds" else 2]:
        ours.send(device, second)
    ours.tick()
    assert ours.outcomes()[last.id] == Counted(release=2, window=2, weight=45)
    assert spent(ours, "pump-4") == (stale_price(45), 0)


@pytest.mark.parametrize("sealed", [False, True])
def test_who_comes_after_the_goal_was_reached_is_refused_where_the_plan_folds_none(
    tmp_path: Path, *, sealed: bool
) -> None:
    """If it was bound when the window's noise was drawn, what it reserved is spent for ever (I18)."""
    ours = conveyor(tmp_path, plan(late="refuse"), FOUR)
    first = ours.open(FOUR)
    for device in FOUR[:3]:
        ours.send(device, first)
    ours.tick(only="aggregator")
    if not sealed:
        ours.tick()
    last = ours.send("pump-4", first)
    ours.tick()
    why = "window 1 was sealed without it" if sealed else "window 1 has ended, and the plan folds no late updates"
    assert ours.outcomes()[last.id] == Refused(reason="late", why=why)
    assert spent(ours, "pump-4") == ((QUARTER, 0) if sealed else (0, 0))


@MODES
def test_who_is_bound_to_a_window_that_was_sealed_without_it_counts_in_the_next(tmp_path: Path, mode: str) -> None:
    """It comes between the seal at the deadline and the release; its reservation is replaced, never doubled."""
    ours = conveyor(tmp_path, plan(mode), FOUR)
    first = ours.open(FOUR)
    for device in FOUR[:2]:
        ours.send(device, first)
    ours.tick(6.0, only="aggregator")
    last = ours.send("pump-3", first)
    assert spent(ours, "pump-3") == (0, QUARTER)
    ours.tick(6.0)
    assert [row["members"] for row in ours.ledger.rows(RELEASES)] == [2]
    assert spent(ours, "pump-3") == (0, QUARTER)
    second = ours.open(FOUR)
    assert spent(ours, "pump-3") == (0, stale_price(45))
    for device in (FOUR[0], FOUR[1], FOUR[3])[: 3 if mode == "rounds" else 2]:
        ours.send(device, second)
    ours.tick()
    assert ours.outcomes()[last.id] == Counted(release=2, window=2, weight=45)
    assert spent(ours, "pump-3") == (stale_price(45), 0)


@MODES
def test_a_partial_window_is_released_at_its_deadline_with_those_who_came(tmp_path: Path, mode: str) -> None:
    ours = conveyor(tmp_path, plan(mode), FOUR)
    first = ours.open(FOUR)
    sent = [ours.send(device, first) for device in FOUR[:2]]
    ours.tick(5.9)
    assert states(ours) == ["open"]
    ours.tick(6.0)
    assert states(ours) == ["released"]
    assert ours.outcomes() == {one.id: Counted(release=1, window=1, weight=64) for one in sent}
    assert [spent(ours, device) for device in FOUR] == [(QUARTER, 0), (QUARTER, 0), (0, 0), (0, 0)]


@MODES
def test_a_window_that_too_few_came_to_is_abandoned_and_costs_nobody_anything(tmp_path: Path, mode: str) -> None:
    ours = conveyor(tmp_path, plan(mode), FOUR)
    lone = ours.send("pump-1", ours.open(FOUR))
    ours.tick(6.0)
    assert (states(ours), ours.outcomes()) == (["abandoned"], {lone.id: Abandoned(window=1)})
    assert (spent(ours, "pump-1"), ours.ledger.row(CHARGES, update=lone.id)["state"]) == ((0, 0), "void")


@pytest.mark.parametrize(("mode", "weight"), [("rounds", 45), ("buffered", 64)])
def test_who_comes_to_an_abandoned_window_counts_in_the_next(tmp_path: Path, mode: str, weight: int) -> None:
    """In rounds it is a window late; buffered, its model is still the newest one."""
    ours = conveyor(tmp_path, plan(mode), FOUR)
    first = ours.open(FOUR)
    ours.tick(6.0)
    late = ours.send("pump-4", first)
    second = ours.open(FOUR[:3])
    for device in FOUR[:2]:
        ours.send(device, second)
    ours.tick(6.0)
    assert states(ours) == ["abandoned", "released"]
    assert ours.outcomes()[late.id] == Counted(release=1, window=2, weight=weight)


@MODES
def test_the_judge_finds_nothing_wrong_with_a_window_that_has_a_late_update(tmp_path: Path, mode: str) -> None:
    """In rounds it rides along, so there are more members than have arrived: three of the cohort, and it."""
    ours = conveyor(tmp_path, plan(mode), FOUR)
    first = ours.open(FOUR)
    for device in FOUR[:3]:
        ours.send(device, first)
    ours.tick()
    ours.send("pump-4", first)
    second = ours.open(FOUR[:3])
    for device in FOUR[:3]:
        ours.send(device, second)
    ours.tick()
    figures = [(row["members"], row["arrived"]) for row in ours.ledger.rows(RELEASES)]
    assert figures == [(3, 3), (4, 3) if mode == "rounds" else (3, 3)]
    asked = [sys.executable, "-m", "examples.judge", str(tmp_path / "ledger.db")]
    judged = subprocess.run(asked, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout


@MODES
def test_an_update_sent_again_in_any_state_changes_nothing(tmp_path: Path, mode: str) -> None:
    """Waiting, bound, and counted: the ledger stays as it is, and the receipt is the identical one."""
    ours = conveyor(tmp_path, plan(mode), FOUR)
    first = ours.open(FOUR)
    verdicts = [ours.send(device, first) for device in FOUR[:3]]
    ours.tick()
    verdicts.append(ours.send("pump-4", first))
    for _ in ("waiting", "bound"):
        before = ours.ledger.everything()
        ours.carry(booked=verdicts)
        assert ours.ledger.everything() == before
        ours.open(FOUR[:3])
    assert len(ours.receipts) == 3 * 3
    assert len({(receipt.update, receipt.at) for receipt in ours.receipts}) == 3
