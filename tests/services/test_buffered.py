"""A buffered federation, from the payload to the receipt: its equalities, and what becomes of whoever is late."""

import random
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from mizzle.messages import Abandoned, Closed, Counted, Decline, Refused, Window
from mizzle.plan import Plan
from services.ledger.tables import BUDGETS, CHARGES, RELEASES, UPDATES, WINDOWS
from tests.services.conveyor import Conveyor, by_hand, conveyor, names, present, spread, without_noise
from tests.services.plans import plan as plan_of

FOUR = names(4)


def plan(goal: int = 2, staleness: int = 2, invite: float = 2.0, crowd: int = 1) -> Plan:
    return plan_of(mode="buffered", goal=goal, staleness=staleness, invite=invite, crowd=crowd)


def slow(ours: Conveyor) -> tuple[Window, Window]:
    """A window that two of its four devices were too slow for, and the next one."""
    first = ours.open(FOUR)
    for device in FOUR[:2]:
        ours.send(device, first)
    ours.tick()
    return first, ours.open(())


def rows(ours: Conveyor, window: int) -> list[tuple[str, int, int]]:
    """The devices that are bound to a window, their weight and their staleness."""
    found = [row for row in ours.ledger.rows(UPDATES) if row["window"] == window]
    return sorted((row["device"], row["weight"], row["staleness"]) for row in found)


def versions(ours: Conveyor) -> list[int | None]:
    """The release that each window has become, none where it was abandoned."""
    return [row["version"] for row in ours.ledger.rows(WINDOWS)]


# Equalities -----------------------------------------------------------------------------------------------------------


def test_without_staleness_and_with_a_goal_as_large_as_the_cohort_it_is_rounds_bit_for_bit(tmp_path: Path) -> None:
    """Three windows one after the other, the same noise keys: FedAvg's models, and every integer below them."""
    made = [conveyor(tmp_path / mode, plan_of(mode=mode, goal=4, staleness=0), FOUR) for mode in ("rounds", "buffered")]
    for ours in made:
        for number in (1, 2, 3):
            window = ours.open(FOUR)
            for place, device in enumerate(FOUR):
                ours.send(device, window, spread(10 * number + place))
            ours.tick(entropy=f"noise of {number}")
    rounds, buffered = made
    assert versions(buffered) == [1, 2, 3]
    assert (buffered.sums(), buffered.models()) == (rounds.sums(), rounds.models())


@pytest.mark.parametrize("seed", range(3))
def test_so_many_updates_make_exactly_as_many_steps_as_they_fill_goals(tmp_path: Path, seed: int) -> None:
    """Nine devices of any speed, six at work at a time, windows of three, opened by the selector as it is.

    After every booking all updates are accounted for (`Conveyor` looks), and in the end the rest waits, none is lost.
    """
    chance, devices, goal = random.Random(seed), names(9), 3
    ours = conveyor(tmp_path, plan(goal=goal, staleness=60), devices, selects=True)
    ours.hear(*map(present, devices))
    sent = 0
    for turn in range(30):
        ours.tick(turn / 1000, f"{seed} {turn}")
        todo = [one for one in ours.invited if (one.device, one.window) not in ours.sent]
        if not todo or chance.random() < 0.2:
            continue
        for one in chance.sample(todo, chance.randint(1, min(4, len(todo)))):
            ours.send(one.device, ours.windows[one.window - 1], spread(sent))
            sent += 1
    ours.tick(1, "the last one")
    counted = [one for one in ours.outcomes().values() if isinstance(one, Counted)]
    assert len(ours.sums()) == sent // goal > 5
    assert (len(counted), len(ours.ledger.rows(UPDATES))) == (goal * (sent // goal), sent)
    assert {row["members"] for row in ours.ledger.rows(RELEASES)} == {goal}
    assert any(row["staleness"] > 0 for row in ours.ledger.rows(UPDATES))


def test_updates_that_were_coded_for_different_windows_add_exactly(tmp_path: Path) -> None:
    """Three seeds in one sum; each update is turned back here by itself."""
    ours = conveyor(tmp_path, plan(goal=3, crowd=1), names(5))
    first = ours.open(names(5))
    for place in (1, 2, 3):
        ours.send(f"pump-{place}", first, spread(place))
    ours.tick()
    second = ours.open(("pump-1", "pump-2", "pump-3"))
    for place in (1, 2):
        ours.send(f"pump-{place}", second, spread(place))
    ours.send("pump-4", first, spread(4))
    ours.tick()
    third = ours.open(("pump-1",))
    parts = [("pump-1", third, 64), ("pump-3", second, 45), ("pump-5", first, 36)]
    verdicts = [ours.send(device, window, spread(place)) for place, (device, window, _) in enumerate(parts)]
    ours.tick()
    assert rows(ours, 3) == [("pump-1", 64, 0), ("pump-3", 45, 1), ("pump-5", 36, 2)]
    expected = [
        by_hand(ours, verdict, window, weight) for verdict, (_, window, weight) in zip(verdicts, parts, strict=True)
    ]
    assert without_noise(ours, ours.sums()[2]) == np.sum(expected, axis=0).tolist()


def test_the_model_does_not_depend_on_the_order_of_arrival(tmp_path: Path) -> None:
    """Two stale updates and one fresh, in all six orders."""
    found = set()
    for place, order in enumerate(permutations((2, 3, 4))):
        ours = conveyor(tmp_path / str(place), plan(goal=3, invite=2.0), names(5))
        first = ours.open(names(5))
        for device in (0, 1, 4):
            ours.send(f"pump-{device + 1}", first, spread(device))
        ours.tick()
        second = ours.open(("pump-2",))
        named = {2: ("pump-3", first), 3: ("pump-4", first), 4: ("pump-2", second)}
        for number in order:
            ours.send(*named[number], spread(number))
        ours.tick()
        assert versions(ours) == [1, 2]
        found.add((tuple(ours.sums()[1]), ours.models()[1]))
    assert len(found) == 1


# Staleness ------------------------------------------------------------------------------------------------------------


def test_an_update_counts_in_the_window_that_is_open_with_the_weight_of_its_staleness(tmp_path: Path) -> None:
    ours = conveyor(tmp_path, plan(), FOUR)
    first, _ = slow(ours)
    late = [ours.send(device, first) for device in FOUR[2:]]
    ours.tick()
    assert [ours.outcomes()[one.id] for one in late] == [Counted(release=2, window=2, weight=45)] * 2
    assert versions(ours) == [1, 2]


def test_a_window_that_was_abandoned_makes_nothing_staler(tmp_path: Path) -> None:
    """It made no version, so who began in it begins at the same model as who begins in the next."""
    ours = conveyor(tmp_path, plan(staleness=0), FOUR)
    first = ours.open(FOUR)
    ours.tick(6.0)
    second = ours.open(FOUR[:2])
    ours.send("pump-4", first)
    ours.send("pump-1", second)
    ours.tick()
    assert rows(ours, 2) == [("pump-1", 64, 0), ("pump-4", 64, 0)]
    assert versions(ours) == [None, 1]


def test_an_update_whose_model_is_too_old_is_refused(tmp_path: Path) -> None:
    ours = conveyor(tmp_path, plan(staleness=0), FOUR)
    first, _ = slow(ours)
    late = ours.send("pump-4", first)
    why = "window 1 began 1 versions ago, at most 0 may be"
    assert ours.outcomes()[late.id] == Refused(reason="stale", why=why)


def test_who_waited_until_its_model_was_too_old_is_refused_when_a_window_opens(tmp_path: Path) -> None:
    ours = conveyor(tmp_path, plan(staleness=0), FOUR)
    first = ours.open(FOUR)
    sent = [ours.send(device, first) for device in FOUR]
    ours.tick()
    assert len(ours.outcomes()) == 2
    ours.open(())
    assert [type(ours.outcomes()[one.id]) for one in sent] == [Counted, Counted, Refused, Refused]


# A window holds its goal ----------------------------------------------------------------------------------------------


def test_updates_beyond_the_goal_wait_for_the_next_window_in_the_order_of_their_admission(tmp_path: Path) -> None:
    """All four come before the aggregator's clock ticks: two are a goal, so two are in the sum."""
    ours = conveyor(tmp_path, plan(), FOUR)
    first = ours.open(FOUR)
    sent = [ours.send(device, first) for device in FOUR]
    ours.tick()
    assert [row["members"] for row in ours.ledger.rows(RELEASES)] == [2]
    ours.open(())
    ours.tick()
    assert [row["members"] for row in ours.ledger.rows(RELEASES)] == [2, 2]
    assert [ours.outcomes()[one.id] for one in sent[2:]] == [Counted(release=2, window=2, weight=45)] * 2


def test_an_update_that_waits_reserves_nothing_until_it_is_bound(tmp_path: Path) -> None:
    ours = conveyor(tmp_path, plan(), FOUR)
    first = ours.open(FOUR)
    for device in FOUR[:3]:
        ours.send(device, first)
    assert ours.ledger.row(BUDGETS, device="pump-3")["reserved"] == 0
    ours.tick()
    ours.open(())
    assert ours.ledger.row(BUDGETS, device="pump-3")["reserved"] == -(-(45**2) * 2**32 // (2 * 64) ** 2)


def test_a_window_that_a_quorum_came_to_is_released_at_its_deadline(tmp_path: Path) -> None:
    ours = conveyor(tmp_path, plan(goal=3), FOUR)
    first = ours.open(FOUR)
    sent = [ours.send(device, first) for device in FOUR[:2]]
    ours.tick(5.999)
    assert versions(ours) == [None]
    ours.tick(6.0)
    assert [ours.outcomes()[one.id] for one in sent] == [Counted(release=1, window=1, weight=64)] * 2


def test_a_window_that_too_few_came_to_is_abandoned_with_what_it_holds_and_gives_it_back(tmp_path: Path) -> None:
    ours = conveyor(tmp_path, plan(goal=3), FOUR)
    first = ours.open(FOUR)
    lone = ours.send("pump-1", first)
    ours.tick(6.0)
    assert ours.outcomes() == {lone.id: Abandoned(window=1)}
    assert ours.ledger.row(CHARGES, update=lone.id)["state"] == "void"
    assert ours.ledger.row(BUDGETS, device="pump-1") == {"device": "pump-1", "settled": 0, "reserved": 0}


def test_the_quorum_counts_late_updates(tmp_path: Path) -> None:
    ours = conveyor(tmp_path, plan(goal=3), names(5))
    first = ours.open(names(5))
    for device in names(3):
        ours.send(device, first)
    ours.tick()
    ours.open(())
    late = [ours.send(device, first) for device in ("pump-4", "pump-5")]
    ours.tick(6.0)
    assert [ours.outcomes()[one.id] for one in late] == [Counted(release=2, window=2, weight=45)] * 2


# Contents change no count ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refused", [None, "too long"])
def test_a_late_content_that_is_refused_counts_as_its_envelope_would(tmp_path: Path, refused: str | None) -> None:
    ours = conveyor(tmp_path, plan(crowd=1), FOUR)
    first, _ = slow(ours)
    ours.send("pump-3", first, refused=refused)
    ours.send("pump-4", first)
    ours.tick()
    assert versions(ours) == [1, 2]
    assert [row["arrived"] for row in ours.ledger.rows(RELEASES)] == [2, 2]


@pytest.mark.parametrize("refused", [None, "too long"])
def test_a_content_that_is_refused_while_it_would_wait_counts_where_its_envelope_would(
    tmp_path: Path, refused: str | None
) -> None:
    """Five beyond the goal of a window: two belong to the next, two to the one after that, and one waits on."""
    ours = conveyor(tmp_path, plan(invite=4.0, staleness=9), names(7))
    first = ours.open(names(7))
    sent = [ours.send(device, first, refused=refused if device == "pump-3" else None) for device in names(7)]
    ours.tick()
    bound = []
    for number in (2, 3):
        ours.open(())
        bound.append([device for device, _, _ in rows(ours, number)])
        ours.tick()
    assert bound == [["pump-3", "pump-4"], ["pump-5", "pump-6"]]
    assert [row["arrived"] for row in ours.ledger.rows(RELEASES)] == [2, 2, 2]
    assert len(ours.outcomes()) == 6
    assert sent[6].id not in ours.outcomes()


def test_a_refused_content_that_would_have_become_too_stale_counts_nowhere(tmp_path: Path) -> None:
    ours = conveyor(tmp_path, plan(staleness=0), FOUR)
    first = ours.open(FOUR)
    for device in FOUR[:3]:
        ours.send(device, first, refused="too long" if device == "pump-3" else None)
    assert ours.ledger.row(UPDATES, device="pump-3")["window"] == 2
    ours.tick()
    ours.open(FOUR[:2])
    assert ours.ledger.row(UPDATES, device="pump-3")["window"] is None
    assert rows(ours, 2) == []


# Two updates of one device in a window --------------------------------------------------------------------------------


def test_two_updates_of_one_device_cost_what_their_weights_cost_together(tmp_path: Path) -> None:
    ours = conveyor(tmp_path, plan(goal=3, crowd=1), FOUR)
    first = ours.open(FOUR)
    for device in FOUR[:3]:
        ours.send(device, first)
    ours.tick()
    second = ours.open(("pump-4", "pump-1"))
    for device, window in (("pump-4", first), ("pump-4", second), ("pump-1", second)):
        ours.send(device, window)
    ours.tick()
    assert versions(ours) == [1, 2]
    together = -(-((64 + 45) ** 2) * 2**32 // (2 * 64) ** 2)
    assert ours.ledger.row(BUDGETS, device="pump-4") == {"device": "pump-4", "settled": together, "reserved": 0}


def test_two_updates_of_one_device_are_a_crowd_of_one(tmp_path: Path) -> None:
    """The window is given up before any noise is drawn, so nothing is lost but the window."""
    ours = conveyor(tmp_path, plan(goal=2, crowd=2), FOUR)
    first, second = ours.open(FOUR), None
    for device in FOUR[:2]:
        ours.send(device, first)
    ours.tick()
    second = ours.open(("pump-4",))
    sent = [ours.send("pump-4", window) for window in (first, second)]
    ours.tick()
    assert [ours.outcomes()[one.id] for one in sent] == [Abandoned(window=2)] * 2
    assert ours.ledger.row(BUDGETS, device="pump-4") == {"device": "pump-4", "settled": 0, "reserved": 0}


# Who is at work -------------------------------------------------------------------------------------------------------


def test_the_end_of_a_window_says_who_is_still_at_work(tmp_path: Path) -> None:
    ours = conveyor(tmp_path, plan(staleness=1), FOUR)
    slow(ours)
    assert ours.closed == [Closed(window=1, version=1, awaited=FOUR[2:])]
    assert Closed(window=1, version=1, awaited=FOUR[2:]) not in ours.ledger.ledger.facts()
    ours.tick(6.0)
    assert ours.ledger.ledger.facts()[-1] == Closed(window=2, awaited=())


def test_who_has_sent_is_awaited_no_longer(tmp_path: Path) -> None:
    ours = conveyor(tmp_path, plan(), FOUR)
    first, _ = slow(ours)
    ours.send("pump-3", first)
    ours.tick(6.0)
    assert ours.closed[-1].awaited == ("pump-4",)


def test_who_has_sent_for_its_newest_invitation_is_not_awaited_for_an_older_one(tmp_path: Path) -> None:
    """It went away from its first task, and came back to a second one, which it has done."""
    ours = conveyor(tmp_path, plan(), FOUR)
    first = ours.open(FOUR)
    for device in FOUR[:2]:
        ours.send(device, first)
    ours.tick()
    ours.send("pump-4", ours.open(("pump-4",)))
    ours.tick(6.0)
    assert ours.closed[-1].awaited == ("pump-3",)


def test_who_is_at_work_is_not_invited_anew_and_everybody_else_takes_the_free_places(tmp_path: Path) -> None:
    devices = names(8)
    ours = conveyor(tmp_path, plan(), devices, selects=True)
    ours.hear(*map(present, devices))
    ours.tick()
    first = ours.windows[0]
    fast, at_work = first.cohort[:2], set(first.cohort[2:])
    for device in fast:
        ours.send(device, first)
    ours.tick(1)
    ours.tick(2)
    assert len(ours.windows[1].cohort) == 2
    assert not at_work & set(ours.windows[1].cohort)


@pytest.mark.parametrize("how", ["declined", "gone"])
def test_who_declines_or_goes_is_replaced_in_the_next_window(tmp_path: Path, how: str) -> None:
    devices = names(8)
    ours = conveyor(tmp_path, plan(), devices, selects=True)
    ours.hear(*map(present, devices))
    ours.tick()
    first = ours.windows[0]
    out = first.cohort[3]
    decline = Decline(federation="pumps", device=out, window=1, reason="battery")
    ours.hear(decline if how == "declined" else present(out, online=False))
    for device in first.cohort[:2]:
        ours.send(device, first)
    ours.tick(1)
    ours.tick(2)
    assert len(ours.windows[1].cohort) == 3
    assert first.cohort[2] not in ours.windows[1].cohort


def test_a_fleet_that_fell_silent_is_awaited_for_as_many_windows_as_an_update_may_be_stale(tmp_path: Path) -> None:
    """Then its places are free again, and nobody needs to repair anything (I31)."""
    ours = conveyor(tmp_path, plan(staleness=2), FOUR, selects=True)
    ours.hear(*map(present, FOUR))
    ours.tick()
    for number in range(1, 4):
        ours.tick(100 * number)
        ours.tick(100 * number + 7)
    assert [window.cohort for window in ours.windows] == [FOUR, (), (), FOUR]
