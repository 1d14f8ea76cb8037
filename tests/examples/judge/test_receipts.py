"""What is wrong with a receipt is said, and nothing else."""

from pathlib import Path

from tests.examples.judge.maker import World, codes, judged, receipt, say, world


def kept(made: World, device: str, window: int) -> dict[str, object]:
    """The receipt of this update in the outbox."""
    (one,) = [one for one in made.homes[device]["receipts"] if one["window"] == window]
    return one


def test_a_receipt_that_the_ledger_does_not_have_is_missing_there(tmp_path: Path) -> None:
    made = world()
    made.update("pump-1", 1)["receipt"] = None
    found = judged(made, tmp_path)
    assert [one.code for one in found.findings] == [
        "lost",
        "receipt-missing",
        "receipt-without-row",
        "receipt-without-row",
    ]
    assert (found.lost, found.receipts_without_ledger_row) == (1, 1)


def test_two_receipts_of_one_update_are_found(tmp_path: Path) -> None:
    made = world()
    row = made.update("pump-1", 1)
    counted = {"outcome": "counted", "release": 1, "window": 1, "weight": 64}
    kept(made, "pump-1", 1)["sealed"] = receipt(row | {"named_window": 1}, counted | {"note": "again"})
    found = judged(made, tmp_path)
    assert [one.code for one in found.findings] == ["receipt-differs"]
    assert found.receipts_without_ledger_row == 1


def test_a_receipt_without_a_row_is_found(tmp_path: Path) -> None:
    made = world()
    row = made.update("pump-1", 2)
    made.ledger["updates"].remove(row)
    made.ledger["charges"].remove(made.row("charges", update=row["id"]))
    made.ledger["deliveries"][0]["count"] -= 1
    found = judged(made, tmp_path)
    assert [one.code for one in found.findings] == ["lost", "receipt-without-row", "receipt-without-row"]
    assert (found.lost, found.receipts_without_ledger_row) == (1, 1)


def test_a_forged_receipt_in_an_outbox_is_found(tmp_path: Path) -> None:
    made = world()
    row = made.update("pump-1", 1)
    counted = {"outcome": "counted", "release": 1, "window": 1, "weight": 64}
    kept(made, "pump-1", 1)["sealed"] = receipt(row, counted, signer="mallory")
    assert codes(made, tmp_path) == ["receipt-differs", "receipt-forged"]


def test_a_forged_receipt_in_the_ledger_is_found(tmp_path: Path) -> None:
    made = world()
    row = made.update("pump-3", 3)
    refused = {"outcome": "refused", "reason": "history", "why": "it is unlike"}
    row["receipt"] = kept(made, "pump-3", 3)["sealed"] = receipt(row, refused, signer="mallory")
    made.trace = [said for said in made.trace if "to/pump-3/receipt" not in said["topic"]]
    assert codes(made, tmp_path) == ["receipt-forged"]


def test_a_receipt_of_another_device_is_found_in_an_outbox(tmp_path: Path) -> None:
    made = world()
    made.homes["pump-2"]["receipts"].append(kept(made, "pump-1", 2) | {"number": 9})
    assert codes(made, tmp_path) == ["receipt-of-another"]


def test_a_receipt_that_names_another_device_is_found(tmp_path: Path) -> None:
    made = world()
    row = made.update("pump-1", 1)
    counted = {"outcome": "counted", "release": 1, "window": 1, "weight": 64}
    row["receipt"] = kept(made, "pump-1", 1)["sealed"] = receipt(row | {"device": "pump-2"}, counted)
    made.trace = [said for said in made.trace if "/receipt" not in said["topic"]]
    assert codes(made, tmp_path) == ["receipt-of-another"]


def test_a_receipt_sent_to_another_device_is_found_in_the_trace(tmp_path: Path) -> None:
    made = world()
    say(made, "to/pump-2/receipt", made.update("pump-1", 1)["receipt"])
    assert codes(made, tmp_path) == ["receipt-of-another"]


def test_what_is_no_receipt_at_all_is_found_in_the_trace(tmp_path: Path) -> None:
    made = world()
    say(made, "to/pump-2/receipt", b"counted, believe me")
    assert codes(made, tmp_path) == ["receipt-forged", "receipt-without-row"]


def test_an_outcome_that_changed_after_its_receipt_is_found(tmp_path: Path) -> None:
    made = world()
    made.update("pump-3", 3).update(reason="norm")
    assert codes(made, tmp_path) == ["receipt-says-otherwise"]


def test_a_refusal_that_was_counted_before_is_found(tmp_path: Path) -> None:
    made = world()
    made.update("pump-1", 1).update(outcome="refused", reason="norm", version=None)
    assert codes(made, tmp_path) == ["members-differ", "members-differ", "receipt-says-otherwise"]


def test_a_receipt_of_an_open_update_is_found(tmp_path: Path) -> None:
    made = world()
    row = made.update("pump-1", 4)
    row["receipt"] = receipt(row, {"outcome": "counted", "release": 3, "window": 4, "weight": 64})
    assert codes(made, tmp_path) == ["receipt-while-open"]


def test_a_weight_other_than_the_receipts_is_found(tmp_path: Path) -> None:
    made = world()
    made.update("pump-4", 2)["weight"] = 44
    assert codes(made, tmp_path) == ["weight-differs", "weight-unearned"]
