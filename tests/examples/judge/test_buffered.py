"""Buffered windows: a goal and no more, staleness by versions, and two updates of one device."""

from pathlib import Path

from tests.examples.judge.aging import buffered, planned, wait
from tests.examples.judge.maker import World, admit, balance, codes, digest, price, send, world


def with_plan(made: World, plan: bytes) -> World:
    made.ledger["federations"][0].update(plan=plan, plan_digest=digest(plan))
    return made


def test_a_buffered_window_that_holds_more_than_its_goal_is_found(tmp_path: Path) -> None:
    made = buffered()
    made.update("pump-2", 3).update(window=4, staleness=1, weight=45)
    for row in (made.update("pump-2", 3), made.update("pump-4", 1)):
        row["window"] = 3
    assert "window-overfull" in codes(made, tmp_path)


def test_a_buffered_release_of_more_than_arrived_is_found(tmp_path: Path) -> None:
    made = buffered()
    made.row("releases", version=2)["arrived"] = 2
    assert codes(made, tmp_path) == ["window-overfull"]


def test_a_buffered_release_at_which_more_than_the_goal_arrived_is_found(tmp_path: Path) -> None:
    made = buffered()
    made.row("releases", version=2)["arrived"] = 4
    assert codes(made, tmp_path) == ["window-overfull"]


def test_a_buffered_release_without_a_quorum_is_found(tmp_path: Path) -> None:
    made = buffered()
    made.row("releases", version=2)["arrived"] = 1
    assert codes(made, tmp_path) == ["crowd-too-small", "window-overfull"]


def test_staleness_counted_by_windows_where_versions_count_is_found(tmp_path: Path) -> None:
    """Window 2 was abandoned: its update is one window late, and its model is the newest all the same."""
    made = buffered()
    made.update("pump-1", 2)["staleness"] = 1
    assert codes(made, tmp_path) == ["staleness-differs", "weight-unearned"]


def test_staleness_counted_by_versions_where_windows_count_is_found(tmp_path: Path) -> None:
    made = with_plan(buffered(), planned(mode="rounds"))
    assert "staleness-differs" in codes(made, tmp_path)


def test_what_waits_and_is_charged_is_found(tmp_path: Path) -> None:
    made = buffered()
    charge = made.charge("pump-1", 2) | {"update": made.update("pump-2", 3)["id"], "device": "pump-2", "loss": 5}
    made.ledger["charges"].append(charge | {"state": "reserved", "version": None})
    balance(made)
    assert codes(made, tmp_path) == ["charge-while-waiting"]


def test_two_updates_of_one_device_cost_what_their_weights_cost_together(tmp_path: Path) -> None:
    made = buffered()
    made.charge("pump-4", 3)["loss"] = price(64)
    balance(made)
    assert codes(made, tmp_path) == ["undercharged"]


def test_two_updates_of_one_device_are_one_device_in_the_crowd(tmp_path: Path) -> None:
    """Three updates, and a crowd of three is asked for."""
    made = buffered()
    plan = made.plan.replace(b'"minimum_crowd":2', b'"minimum_crowd":3')
    found = codes(with_plan(made, plan), tmp_path)
    assert found.count("crowd-too-small") == 1


def test_a_third_update_beyond_the_goal_waits(tmp_path: Path) -> None:
    made = buffered()
    wait(made, "pump-1", send(made, "pump-1", 3, counter=9))
    assert "window-overfull" not in codes(made, tmp_path)


def test_a_release_of_more_than_its_window_has_room_for_is_found(tmp_path: Path) -> None:
    """In rounds, too."""
    made = world()
    made.row("releases", version=1).update(members=7, arrived=7)
    assert codes(made, tmp_path) == ["manifest-differs", "members-differ", "window-overfull"]


def test_an_open_buffered_window_may_hold_its_goal(tmp_path: Path) -> None:
    made = buffered()
    admit(made, "pump-3", send(made, "pump-3", 4), 4)
    balance(made)
    assert codes(made, tmp_path) == []
