"""Charges and budgets."""

from pathlib import Path

from examples.judge.price import UNIT, delta, exceeds, least_loss
from tests.examples.judge.maker import BOUND, SIGMA, balance, codes, sign, world


def test_a_lowered_charge_is_found_by_its_price(tmp_path: Path) -> None:
    made = world()
    made.charge("pump-1", 1)["loss"] -= 1
    balance(made)
    assert codes(made, tmp_path) == ["undercharged"]


def test_a_lowered_charge_is_found_by_its_budget(tmp_path: Path) -> None:
    made = world()
    made.charge("pump-3", 3)["loss"] -= 1
    assert codes(made, tmp_path) == ["budget-above-charges"]


def test_a_lowered_charge_is_found_by_an_earlier_copy(tmp_path: Path) -> None:
    made = world()
    made.charge("pump-3", 3)["loss"] -= 1
    balance(made)
    assert codes(made, tmp_path, earlier=world()) == ["budget-lowered", "charge-lowered"]


def test_a_charge_without_an_update_is_found(tmp_path: Path) -> None:
    made = world()
    made.ledger["charges"].append(made.charge("pump-1", 1) | {"update": bytes(32)})
    balance(made)
    assert codes(made, tmp_path) == ["charge-without-update"]


def test_a_charge_on_another_device_is_found(tmp_path: Path) -> None:
    made = world()
    made.charge("pump-1", 1)["device"] = "pump-2"
    balance(made)
    assert codes(made, tmp_path) == ["charge-of-another"]


def test_a_charge_for_another_release_is_found(tmp_path: Path) -> None:
    made = world()
    made.charge("pump-1", 1)["version"] = 2
    assert codes(made, tmp_path) == ["charge-of-another"]


def test_an_update_charged_twice_is_found(tmp_path: Path) -> None:
    made = world()
    made.ledger["charges"].append(dict(made.charge("pump-1", 1)))
    balance(made)
    assert codes(made, tmp_path) == ["charge-twice"]


def test_a_counted_update_that_is_not_charged_is_found(tmp_path: Path) -> None:
    made = world()
    made.ledger["charges"].remove(made.charge("pump-2", 1))
    balance(made)
    assert codes(made, tmp_path) == ["counted-uncharged"]


def test_a_reservation_that_outlives_its_update_is_found(tmp_path: Path) -> None:
    made = world()
    made.charge("pump-1", 2)["state"] = "reserved"
    balance(made)
    assert codes(made, tmp_path) == ["charge-state"]


def test_an_open_update_whose_reservation_is_void_is_found(tmp_path: Path) -> None:
    made = world()
    made.charge("pump-1", 4)["state"] = "void"
    balance(made)
    assert codes(made, tmp_path) == ["charge-state"]


def test_a_refused_content_whose_window_was_released_is_charged(tmp_path: Path) -> None:
    """It counts as the zero update, and noise was drawn."""
    made = world()
    made.charge("pump-3", 3).update(state="void", version=None)
    balance(made)
    assert codes(made, tmp_path) == ["charge-void"]


def test_a_refused_content_stays_reserved_while_its_window_is_open(tmp_path: Path) -> None:
    made = world()
    row = made.update("pump-3", 3)
    made.charge("pump-3", 3).update(state="reserved", version=None, window=4)
    row["window"] = 4
    balance(made)
    assert codes(made, tmp_path) == []


def test_a_negative_loss_is_found(tmp_path: Path) -> None:
    made = world()
    made.charge("pump-1", 2)["loss"] = -1
    assert codes(made, tmp_path) == ["loss-negative"]


def test_a_budget_below_its_charges_is_found(tmp_path: Path) -> None:
    made = world()
    made.row("budgets", device="pump-2")["settled"] -= 1
    assert codes(made, tmp_path) == ["budget-below-charges"]


def test_a_reservation_above_its_charges_is_found(tmp_path: Path) -> None:
    made = world()
    made.row("budgets", device="pump-2")["reserved"] += 1
    assert codes(made, tmp_path) == ["budget-above-charges"]


def test_more_than_the_budget_is_found(tmp_path: Path) -> None:
    made = world()
    made.charge("pump-1", 4)["loss"] = 3000 * UNIT
    balance(made)
    assert codes(made, tmp_path) == ["budget-exceeded", "budget-exceeded"]


def test_an_epsilon_below_what_was_lost_is_found(tmp_path: Path) -> None:
    made = world()
    sign(made, 2, privacy={"epsilon": 2.0, "delta": 1e-5, "sentence": "for one device"})
    found = codes(made, tmp_path)
    assert found == ["audit-differs", "epsilon-understated", "trace-release-differs"]


def test_a_full_update_costs_a_quarter_where_the_noise_is_twice_as_large() -> None:
    assert least_loss(64, BOUND, SIGMA) == UNIT // 4


def test_the_loss_is_rounded_up() -> None:
    assert least_loss(1, 1, SIGMA) == 1


def test_delta_is_the_exact_gaussians() -> None:
    """μ = 1/2 at δ = 1e-5 is ε = 1.99309 [Balle & Wang 2018, arXiv:1805.06530]."""
    assert abs(delta(1.9930914, UNIT // 4) - 1e-5) < 1e-11
    assert delta(0.0, 0) == 0.0


def test_delta_of_a_very_large_epsilon_is_a_number() -> None:
    assert delta(1e6, 10_000 * UNIT) == 0.0
    assert exceeds(1e6, 1e-5, 3_000_000 * UNIT)
