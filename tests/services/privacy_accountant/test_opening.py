"""Openings: one window at a time, opened once, with those who belong and can pay."""

from pathlib import Path

import pytest

from mizzle.messages import Abandonment, Answer, Charge, Closed, Exhausted, Halt, ModelRef, Window
from services.ledger.tables import BUDGETS, CHARGES, UPDATES, WINDOWS
from tests.services.federations import DEVICES, Federation, federation, opening
from tests.services.plans import budget_for, plan


@pytest.fixture
def ours(tmp_path: Path) -> Federation:
    return federation(tmp_path)


def test_the_first_window_starts_from_the_plans_model(ours: Federation) -> None:
    assert ours.book(opening(0, DEVICES[:3])) == [
        Window(
            number=1,
            base=ModelRef(version=0, digest=ours.plan.model.digest, size=ours.plan.model.size),
            cohort=DEVICES[:3],
            goal=3,
            quorum=2,
            most=6,
            deadline=1_006_000,
            seed=bytes([1]) * 32,
            bound=2**21,
            weight_cap=64,
        )
    ]


def test_a_window_starts_from_the_newest_release(ours: Federation) -> None:
    ours.run()
    (release,) = ours.ledger.releases(1)
    assert ours.open(after=1).base == ModelRef(version=1, digest=release.model.digest, size=release.model.size)


def test_a_window_says_what_the_device_has_spent_that_spent_most_whoever_is_in_its_cohort(ours: Federation) -> None:
    """Also in a window whose noise was drawn and that was given up: no release has shown that loss (I20)."""
    ours.run(("pump-1", "pump-2"))
    window, _ = ours.filled(("pump-1", "pump-3"), after=1)
    ours.book(Abandonment(window=window.number, arrived=2, quorum=2, noise_was_drawn=True))
    assert ours.open(("pump-3", "pump-4"), after=2).spent == 2**31


def test_an_opening_that_is_asked_for_again_opens_nothing_twice(ours: Federation) -> None:
    asked = opening(0, DEVICES[:3])
    said, before = ours.book(asked), ours.everything()
    assert ours.book(asked) == said
    assert ours.everything() == before


def test_a_window_that_is_open_stays_the_only_one(ours: Federation) -> None:
    window = ours.open()
    assert ours.book(opening(1, DEVICES[1:])) == [window]
    assert len(ours.rows(WINDOWS)) == 1


def test_whoever_asks_after_an_older_window_is_told_how_the_newest_ended(ours: Federation) -> None:
    ours.give_up(ours.open())
    assert ours.book(opening(0, DEVICES)) == [Closed(window=1)]
    assert len(ours.rows(WINDOWS)) == 1


def test_nothing_is_said_to_whoever_asks_after_a_window_that_never_was(ours: Federation) -> None:
    assert ours.book(opening(7, DEVICES)) == []


def test_only_devices_that_belong_are_in_a_cohort(ours: Federation) -> None:
    assert ours.open(("pump-2", "stranger", "pump-1")).cohort == ("pump-2", "pump-1")


def test_no_window_opens_for_strangers_and_the_federation_goes_on(ours: Federation) -> None:
    assert ours.book(opening(0, ("pump-1", "stranger-1", "stranger-2"))) == []
    assert ours.open().number == 1


def test_a_device_whose_budget_is_spent_is_not_invited(tmp_path: Path) -> None:
    ours = federation(tmp_path, plan(budget=budget_for(1)))
    ours.run(DEVICES[:2])
    assert ours.open(DEVICES[1:], after=1).cohort == ("pump-3", "pump-4")


def test_the_federation_halts_where_too_few_can_pay(tmp_path: Path) -> None:
    ours = federation(tmp_path, plan(budget=budget_for(1)))
    ours.run(DEVICES[:3])
    said = ours.book(opening(1, DEVICES))
    why = "devices with budget left for another window: 1, its quorum is 2"
    assert said == [Halt(after=1, reason="budget", why=why)]
    assert ours.book(opening(1, DEVICES)) == said
    assert len(ours.rows(WINDOWS)) == 1


def test_a_cohort_that_cannot_pay_ends_nothing_while_others_can(tmp_path: Path) -> None:
    """The selector asks again, with other devices."""
    ours = federation(tmp_path, plan(budget=budget_for(1)))
    ours.run(DEVICES[:2])
    assert ours.book(opening(1, DEVICES[:2])) == [Exhausted(devices=("pump-1", "pump-2"))]
    (window, *_) = ours.book(opening(1, DEVICES[2:]))
    assert isinstance(window, Window)
    assert window.cohort == tuple(DEVICES[2:])


def test_a_halt_refuses_those_who_waited(tmp_path: Path) -> None:
    ours = federation(tmp_path, plan(budget=budget_for(1)))
    first = ours.open(DEVICES)
    in_time = [ours.verdict(device, first) for device in DEVICES[:3]]
    ours.charge(*in_time)
    candidate, attached = ours.candidate(first, in_time)
    ours.book(candidate, attached=attached)
    ours.charge(ours.verdict("pump-4", first))
    said = ours.book(opening(1, DEVICES))
    assert [type(one) for one in said] == [Halt, Answer]
    assert ours.reasons(said) == ["ended"]
    assert ours.book(opening(1, DEVICES)) == said


def test_late_updates_that_waited_are_bound_when_a_window_opens(ours: Federation) -> None:
    first = ours.open()
    ours.give_up(first)
    verdict = ours.verdict("pump-1", first)
    ours.charge(verdict)
    asked = opening(1, DEVICES[:3])
    window, charge = ours.book(asked)
    assert isinstance(window, Window)
    spent = ours.row(BUDGETS, device="pump-1")["reserved"]
    assert charge == Charge(
        id=verdict.id, device="pump-1", window=2, weight=45, staleness=1, seed=first.seed, spent=spent
    )
    assert ours.book(asked) == [window, charge]


def test_who_waited_too_long_is_refused_when_a_window_opens(ours: Federation) -> None:
    """Window 1 is 2 windows ago when window 3 opens: 2 may be. It is 3 when window 4 does."""
    first = ours.open()
    ours.give_up(first)
    for after in (1, 2):
        ours.give_up(ours.open(after=after))
    assert ours.reasons(ours.book(ours.verdict("pump-1", first))) == ["stale"]


def test_late_updates_beyond_the_room_of_a_window_wait_on(ours: Federation) -> None:
    """Three may join a window; with the fourth, the sum would have no room for the whole cohort."""
    first = ours.open(DEVICES)
    ours.give_up(first)
    ours.charge(*(ours.verdict(device, first) for device in DEVICES))
    said = ours.book(opening(1, DEVICES[:3]))
    assert [type(one) for one in said] == [Window, Charge, Charge, Charge]
    assert [row["window"] for row in ours.rows(UPDATES)].count(None) == 1


def test_a_late_update_that_no_budget_allows_is_refused_when_a_window_opens(tmp_path: Path) -> None:
    ours = federation(tmp_path, plan(budget=budget_for(1)))
    window = ours.open(DEVICES)
    in_time = [ours.verdict(device, window) for device in DEVICES[:2]]
    ours.charge(*in_time)
    candidate, attached = ours.candidate(window, in_time)
    ours.book(candidate, attached=attached)
    ours.charge(ours.verdict("pump-3", window))
    (opened, charge, exhausted) = ours.book(opening(1, DEVICES))
    assert isinstance(opened, Window)
    assert opened.cohort == ("pump-3", "pump-4")
    assert isinstance(charge, Charge)
    assert exhausted == Exhausted(devices=("pump-1", "pump-2"))
    assert ours.reasons(ours.book(ours.verdict("pump-3", opened))) == ["budget"]
    assert [row["state"] for row in ours.rows(CHARGES)] == ["settled", "settled", "reserved"]
