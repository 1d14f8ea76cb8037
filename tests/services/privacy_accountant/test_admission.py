"""Admission: what the ledger holds, and what is said, of every update that comes."""

from pathlib import Path

import pytest

from mizzle.errors import Fenced
from mizzle.messages import Answer, Charge, Refusal, Refused, Unauthenticated, Verdict
from services.ledger import deliveries
from services.ledger.engine import reading
from services.ledger.tables import BUDGETS, CHARGES, UPDATES
from tests.services.federations import DEVICES, Federation, federation
from tests.services.plans import budget_for, plan


@pytest.fixture
def ours(tmp_path: Path) -> Federation:
    return federation(tmp_path)


def counted(ours: Federation) -> dict[str, int]:
    with reading(ours.ledger.engine) as tx:
        return deliveries.counted(tx, "pumps")


def refusal(verdict: Verdict, reason: str = "unreadable", why: str = "") -> Refusal:
    return Refusal(id=verdict.id, update=verdict.update, sealed=verdict.sealed, reason=reason, why=why)


def test_an_update_in_time_is_charged(ours: Federation) -> None:
    window = ours.open()
    verdict = ours.verdict("pump-1", window)
    charge = Charge(id=verdict.id, device="pump-1", window=1, weight=64, staleness=0, seed=window.seed, spent=2**30)
    assert ours.book(verdict) == [charge]
    assert ours.row(BUDGETS, device="pump-1") == {"device": "pump-1", "settled": 0, "reserved": 2**30}
    assert ours.row(CHARGES, update=verdict.id)["state"] == "reserved"


def test_an_update_that_comes_again_changes_nothing_and_is_charged_again(ours: Federation) -> None:
    verdict = ours.verdict("pump-1", ours.open())
    said, before = ours.book(verdict), ours.everything()
    assert ours.book(verdict) == said
    assert ours.everything() == before


def test_a_refused_update_that_comes_again_gets_the_identical_receipt(ours: Federation) -> None:
    verdict = ours.verdict("pump-4", ours.open())
    said, before = ours.book(verdict), ours.everything()
    assert ours.reasons(said) == ["uninvited"]
    assert ours.book(verdict) == said
    assert ours.everything() == before


def test_a_receipt_ends_the_update_that_it_is_about(ours: Federation) -> None:
    verdict = ours.verdict("pump-4", ours.open())
    (answer,) = ours.book(verdict)
    assert isinstance(answer, Answer)
    assert (answer.device, answer.ends, ours.receipt(answer).update) == ("pump-4", verdict.id, verdict.id)
    assert ours.row(UPDATES, id=verdict.id)["receipt"] == answer.sealed


def test_a_second_update_for_a_window_is_refused(ours: Federation) -> None:
    window = ours.open()
    ours.book(ours.verdict("pump-1", window))
    assert ours.reasons(ours.book(ours.verdict("pump-1", window, nonce=1))) == ["second"]


def test_a_refused_content_is_refused_and_still_arrives(ours: Federation) -> None:
    window = ours.open()
    verdict = ours.verdict("pump-1", window, refused="20 times too long")
    answer, charge = ours.book(verdict)
    assert ours.receipt(answer).outcome == Refused(reason="norm", why="20 times too long")
    zero = Charge(id=verdict.id, device="pump-1", window=1, weight=0, staleness=0, seed=window.seed, spent=0)
    assert charge == zero
    assert ours.book(verdict) == [answer, charge]


def test_a_refused_content_costs_no_budget(ours: Federation) -> None:
    ours.book(ours.verdict("pump-1", ours.open(), refused="too long"))
    assert ours.row(BUDGETS, device="pump-1")["reserved"] == 0


def test_a_refused_content_is_not_charged_once_its_window_has_ended(ours: Federation) -> None:
    window = ours.open()
    verdict = ours.verdict("pump-1", window, refused="too long")
    answer, _ = ours.book(verdict)
    ours.give_up(window)
    assert ours.book(verdict) == [answer]


def test_a_late_update_waits_for_the_next_window(ours: Federation) -> None:
    window = ours.open()
    ours.give_up(window)
    verdict = ours.verdict("pump-1", window)
    assert ours.book(verdict) == []
    assert ours.book(verdict) == []
    row = ours.row(UPDATES, id=verdict.id)
    assert (row["outcome"], row["window"]) == ("open", None)
    assert ours.row(BUDGETS, device="pump-1")["reserved"] == 0


def test_a_late_update_joins_the_window_that_is_open(ours: Federation) -> None:
    first = ours.open()
    ours.give_up(first)
    ours.open(after=1)
    verdict = ours.verdict("pump-1", first)
    (charge,) = ours.book(verdict)
    assert isinstance(charge, Charge)
    assert (charge.window, charge.weight, charge.staleness, charge.seed) == (2, 45, 1, first.seed)


def test_two_updates_of_a_device_in_one_window_cost_what_their_weights_cost_together(ours: Federation) -> None:
    first = ours.open()
    ours.give_up(first)
    second = ours.open(after=1)
    ours.book(ours.verdict("pump-1", first), ours.verdict("pump-1", second))
    together = -(-((45 + 64) ** 2 * 2**32) // (2 * 64) ** 2)
    assert ours.row(BUDGETS, device="pump-1")["reserved"] == together


def test_what_would_pass_the_budget_is_refused_and_reserves_nothing(tmp_path: Path) -> None:
    ours = federation(tmp_path / "strict", plan(budget=budget_for(1)))
    first = ours.open()
    ours.give_up(first)
    second = ours.open(after=1)
    ours.book(ours.verdict("pump-1", second))
    assert ours.reasons(ours.book(ours.verdict("pump-1", first))) == ["budget"]
    assert ours.row(BUDGETS, device="pump-1") == {"device": "pump-1", "settled": 0, "reserved": 2**30}


def test_a_refusal_ends_an_update_that_nobody_has_admitted(ours: Federation) -> None:
    verdict = ours.verdict("pump-1", ours.open())
    said = ours.book(refusal(verdict))
    assert ours.reasons(said) == ["unreadable"]
    assert ours.book(refusal(verdict)) == said
    assert ours.book(verdict) == said


def test_the_receipt_of_a_refusal_says_why(ours: Federation) -> None:
    verdict = ours.verdict("pump-1", ours.open())
    said = ours.book(refusal(verdict, "oversized", "a payload is at most 59 bytes long"))
    assert ours.outcomes(said) == {verdict.id: Refused(reason="oversized", why="a payload is at most 59 bytes long")}


@pytest.mark.parametrize("epoch", [1, 7, 2**32 - 1])
def test_an_update_that_was_sealed_in_another_epoch_is_refused(ours: Federation, epoch: int) -> None:
    window = ours.open()
    verdict = ours.verdict("pump-1", window, epoch=epoch)
    said = ours.book(verdict)
    why = f"sealed in parameter epoch {epoch}, the federation is in epoch 0"
    assert ours.outcomes(said) == {verdict.id: Refused(reason="wrong-epoch", why=why)}
    assert ours.rows(CHARGES) == []


def test_a_refusal_does_not_touch_an_update_that_is_admitted(ours: Federation) -> None:
    """It goes its way as if it had come again: its charge is said once more, in case the aggregator lacks it."""
    verdict = ours.verdict("pump-1", ours.open())
    (charge,) = ours.book(verdict)
    assert isinstance(charge, Charge)
    before = ours.everything()
    assert ours.book(refusal(verdict)) == [charge]
    assert ours.everything() == before


def test_every_delivery_is_one_of_three_kinds(ours: Federation) -> None:
    before = counted(ours)
    verdict = ours.verdict("pump-1", ours.open())
    ours.book(verdict, verdict, Unauthenticated(device="pump-9", reason="forged"), refusal(verdict))
    assert before == {}
    assert counted(ours) == {"first": 1, "duplicate": 2, "unauthenticated": 1}


def test_a_batch_that_is_booked_again_counts_no_delivery_twice(ours: Federation) -> None:
    verdict = ours.verdict("pump-1", ours.open())
    batch = [ours.booking(one) for one in (verdict, verdict, Unauthenticated(device="pump-9", reason="forged"))]
    said = ours.booked(batch)
    before = counted(ours)
    assert ours.booked(batch) == said
    assert counted(ours) == before == {"first": 1, "duplicate": 1, "unauthenticated": 1}


def test_an_accountant_that_was_superseded_writes_nothing(ours: Federation) -> None:
    verdict, before = ours.verdict("pump-1", ours.open()), ours.everything()
    ours.ledger.issue_epoch("privacy_accountant")
    with pytest.raises(Fenced):
        ours.book(verdict)
    assert ours.rows(UPDATES) == before["updates"]


def test_nothing_booked_is_nothing_written(ours: Federation) -> None:
    assert ours.booked([]) == []


def test_all_devices_of_a_cohort_are_admitted_in_one_batch(ours: Federation) -> None:
    window = ours.open()
    said = ours.book(*(ours.verdict(device, window) for device in DEVICES[:3]))
    assert [type(one) for one in said] == [Charge] * 3
