"""A ledger beside an earlier copy of itself."""

from pathlib import Path

from tests.examples.judge.maker import balance, chain, codes, receipt, sign, world


def test_a_dropped_last_row_of_the_log_is_found_beside_an_earlier_copy(tmp_path: Path) -> None:
    before, made = world(), world()
    for one in (before, made):
        one.ledger["audit"].append(one.act("device.enrolled", "pump-1") | {"seq": 99, "action": "device.seen"})
        one.ledger["audit"][-1]["seq"] = len(one.ledger["audit"])
        chain(one)
    made.ledger["audit"].pop()
    assert codes(made, tmp_path, earlier=before) == ["audit-gone"]


def test_a_log_that_was_bound_anew_is_found(tmp_path: Path) -> None:
    made = world()
    made.ledger["audit"][-1]["actor"] = "somebody"
    chain(made)
    assert codes(made, tmp_path, earlier=world()) == ["audit-changed"]


def test_an_outcome_that_is_another_now_is_found(tmp_path: Path) -> None:
    made = world()
    row = made.update("pump-3", 3)
    row["reason"] = "norm"
    row["receipt"] = receipt(row, {"outcome": "refused", "reason": "norm", "why": "it is long"})
    made.homes["pump-3"]["receipts"][-1]["sealed"] = row["receipt"]
    made.trace.clear()
    assert codes(made, tmp_path, earlier=world()) == ["outcome-changed"]


def test_an_update_that_is_there_no_more_is_found(tmp_path: Path) -> None:
    made = world()
    row = made.update("pump-1", 4)
    made.ledger["charges"].remove(made.charge("pump-1", 4))
    made.ledger["updates"].remove(row)
    made.ledger["deliveries"][0]["count"] -= 1
    balance(made)
    assert codes(made, tmp_path, earlier=world()) == ["charge-gone", "deliveries-lowered", "update-gone"]


def test_a_settled_charge_that_is_void_now_is_found(tmp_path: Path) -> None:
    made = world()
    made.charge("pump-3", 3)["state"] = "void"
    balance(made)
    assert codes(made, tmp_path, earlier=world()) == ["budget-lowered", "charge-lowered", "charge-void"]


def test_a_settled_budget_that_was_lowered_is_found(tmp_path: Path) -> None:
    made = world()
    made.row("budgets", device="pump-1")["settled"] -= 1
    assert codes(made, tmp_path, earlier=world()) == ["budget-below-charges", "budget-lowered"]


def test_a_release_that_was_signed_again_is_found(tmp_path: Path) -> None:
    before, made = world(), world()
    for one in (before, made):
        one.trace.clear()
    sign(made, 2, expires="2027-01-01T00:00:00Z")
    assert codes(made, tmp_path, earlier=before) == ["audit-differs", "release-changed"]


def test_a_release_that_is_there_no_more_is_found(tmp_path: Path) -> None:
    before, made = world(), world()
    made.ledger["releases"].append(made.row("releases", version=2) | {"federation": "other"})
    before.ledger["releases"].append(made.ledger["releases"].pop())
    assert codes(made, tmp_path, earlier=before) == ["release-gone"]


def test_a_window_that_ended_otherwise_is_found(tmp_path: Path) -> None:
    made = world()
    made.row("windows", number=2)["ended_at"] += 1
    assert codes(made, tmp_path, earlier=world()) == ["window-changed"]


def test_a_window_that_is_there_no_more_is_found(tmp_path: Path) -> None:
    made, before = world(), world()
    before.ledger["windows"].append(before.row("windows", number=4) | {"number": 5})
    assert codes(made, tmp_path, earlier=before) == ["window-gone"]


def test_a_lease_that_went_back_is_found(tmp_path: Path) -> None:
    made = world()
    made.ledger["leases"][0]["epoch"] = 1
    assert codes(made, tmp_path, earlier=world()) == ["epoch-lowered"]
