"""Updates that were cleaned up: whoever tampers with what is left of them is found."""

import sqlite3
from contextlib import closing
from pathlib import Path

from examples.judge.books import Memory
from examples.judge.evidence import gathered
from examples.judge.past import has_ended
from examples.judge.verdict import verdict
from tests.examples.judge.aging import buffered, memory, tidied, tidy, told_again
from tests.examples.judge.maker import NOON, Row, World, balance, codes, judged, receipt, say, sign, world, written


def marks(made: World, device: str, change: int) -> None:
    """Turn these bits of what is remembered of a device."""
    row = memory(made, device)
    number = int.from_bytes(row["ended"], "big") ^ change
    row["ended"] = number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")


def silent(made: World, device: str, window: int) -> World:
    """Nobody holds a receipt of this update any more, nor a note that it was sent; the broker carried it."""
    row = world().update(device, window)
    log = made.homes[device]
    log["receipts"] = [one for one in log["receipts"] if one["id"] != row["id"]]
    log["sent"] = [one for one in log["sent"] if one["id"] != row["id"]]
    made.trace = [said for said in made.trace if not said["topic"].endswith(f"to/{device}/receipt")]
    return made


def test_what_is_marked_is_not_lost(tmp_path: Path) -> None:
    """The broker carried it, nobody has its receipt, and its counter is marked."""
    assert codes(silent(tidied(), "pump-1", 2), tmp_path) == []


def test_what_is_not_marked_is_lost(tmp_path: Path) -> None:
    made = silent(tidied(), "pump-1", 2)
    marks(made, "pump-1", 0b10)
    found = judged(made, tmp_path)
    assert [one.code for one in found.findings] == ["lost"]
    assert found.lost == 1


def test_a_lowered_count_is_found(tmp_path: Path) -> None:
    made = tidied()
    made.row("past_updates", named_window=1)["count"] -= 1
    found = judged(made, tmp_path)
    assert {one.code for one in found.findings} == {
        "conservation-deliveries",
        "members-differ",
        "past-marks-more",
        "receipt-without-row",
    }
    assert (found.lost, found.conservation_difference, found.receipts_without_ledger_row) == (0, 1, 1)


def test_a_count_under_another_outcome_is_found(tmp_path: Path) -> None:
    made = tidied()
    made.row("past_updates", named_window=1).update(outcome="refused", reason="norm", version=0)
    assert {"members-differ", "receipt-without-row"} <= set(codes(made, tmp_path))


def test_a_count_that_is_no_ending_is_found(tmp_path: Path) -> None:
    made = tidied()
    made.row("past_updates", named_window=2).update(outcome="open")
    assert {"conservation-window", "past-contradicts-itself"} <= set(codes(made, tmp_path))


def test_a_count_in_a_release_that_is_not_there_is_found(tmp_path: Path) -> None:
    made = tidied()
    made.row("past_updates", named_window=3)["version"] = 9
    assert "past-contradicts-itself" in codes(made, tmp_path)


def test_a_mark_that_nobody_earned_is_found(tmp_path: Path) -> None:
    """The counter was never signed under, and stands for one that could never end."""
    made = tidied()
    memory(made, "pump-2").update(mark=4, ended=bytes([0b1001]))
    assert codes(made, tmp_path) == ["past-marks-more"]


def test_a_mark_on_an_open_update_is_found(tmp_path: Path) -> None:
    made = tidied()
    memory(made, "pump-1").update(mark=4, ended=bytes([0b1111]), named_window=4)
    assert codes(made, tmp_path) == ["past-and-there", "past-contradicts-itself", "past-marks-more"]


def test_a_mark_on_an_open_update_in_the_place_of_another_is_found(tmp_path: Path) -> None:
    """The counts come out, and who looks only at them sees nothing."""
    made = tidied()
    memory(made, "pump-1").update(mark=4, ended=bytes([0b1011]), named_window=3)
    made.update("pump-1", 4)["named_window"] = 3
    assert "past-and-there" in codes(made, tmp_path)


def test_a_mark_on_an_update_that_waits_is_found(tmp_path: Path) -> None:
    made = buffered()
    tidy(made, "pump-2", 1)
    tidy(made, "pump-4", 3)
    memory(made, "pump-2").update(mark=2, ended=bytes([0b11]), named_window=3)
    assert codes(made, tmp_path) == ["past-and-there", "past-marks-more"]


def test_an_update_that_was_cleaned_up_and_is_there_is_found(tmp_path: Path) -> None:
    made, before = tidied(), world()
    made.ledger["updates"].append(before.update("pump-2", 1))
    made.ledger["charges"].append(before.charge("pump-2", 1))
    assert codes(made, tmp_path) == [
        "budget-below-charges",
        "conservation-deliveries",
        "members-differ",
        "members-differ",
        "past-and-there",
    ]


def test_a_memory_that_does_not_mark_its_highest_counter_is_found(tmp_path: Path) -> None:
    made = tidied()
    memory(made, "pump-1")["mark"] += 1
    memory(made, "pump-1")["ended"] = bytes([0b1110])
    assert codes(made, tmp_path) == ["past-contradicts-itself"]


def test_a_memory_of_nobody_is_found(tmp_path: Path) -> None:
    made = tidied()
    memory(made, "pump-3")["device"] = "pump-9"
    assert "device-unknown" in codes(made, tmp_path)


def test_what_was_settled_and_cleaned_up_is_in_the_budget(tmp_path: Path) -> None:
    made = tidied()
    memory(made, "pump-1")["settled"] -= 1
    assert codes(made, tmp_path) == ["budget-above-charges"]


def test_what_was_settled_and_cleaned_up_is_in_a_releases_epsilon(tmp_path: Path) -> None:
    """pump-1 has lost μ² = 1/2 by release 2, all of it cleaned up; ε = 2 is what 1/4 is worth."""
    made = tidied()
    sign(made, 2, privacy={"epsilon": 2.0, "delta": 1e-5, "sentence": "for one device"})
    assert "epsilon-understated" in codes(made, tmp_path)


def test_more_receipts_than_were_cleaned_up_are_found(tmp_path: Path) -> None:
    """Of an update that no list of members names."""
    made = tidied()
    row = world().update("pump-1", 2) | {"id": bytes(32)}
    say(made, "to/pump-1/receipt", receipt(row, {"outcome": "abandoned", "window": 2}))
    found = judged(made, tmp_path)
    assert [one.code for one in found.findings] == ["receipt-without-row"]
    assert found.receipts_without_ledger_row == 1


def test_a_receipt_that_its_releases_list_does_not_name_is_found(tmp_path: Path) -> None:
    """Though its device lost the one that it had, and the counts have room for this one."""
    made = silent(tidied(), "pump-3", 1)
    row = world().update("pump-3", 1) | {"id": bytes(32)}
    counted = {"outcome": "counted", "release": 1, "window": 1, "weight": 64}
    say(made, "to/pump-3/receipt", receipt(row, counted))
    assert codes(made, tmp_path) == ["receipt-without-row"]


def test_what_lies_further_back_than_the_bitmap_has_ended() -> None:
    remembered = Memory("pumps", "pump-1", named_window=7, mark=10_000, ended=b"\x01", settled=0)
    assert [has_ended(remembered, counter, 7) for counter in (10_000, 9_999, 1_808, 1_807)] == [
        True,
        False,
        False,
        True,
    ]


def test_what_names_a_newer_window_has_not_ended() -> None:
    """A device that begins again at lower counters under its key is heard."""
    remembered = Memory("pumps", "pump-1", named_window=7, mark=10_000, ended=b"\x01", settled=0)
    assert [has_ended(remembered, counter, 8) for counter in (10_000, 1)] == [False, False]


def test_marks_that_are_text_and_not_even_that_are_found(tmp_path: Path) -> None:
    files = written(tidied(), tmp_path)
    with closing(sqlite3.connect(files.ledger)) as line:
        line.execute("UPDATE past_devices SET ended = CAST(x'FF' AS TEXT) WHERE device = 'pump-3'")
        line.commit()
    found = verdict(gathered(files.ledger, files.homes, files.trace, None))
    assert "cell-of-another-type" in [one.code for one in found.findings]


# Beside an earlier copy -----------------------------------------------------------------------------------------------


def test_a_row_that_is_gone_without_a_mark_is_found(tmp_path: Path) -> None:
    made = world()
    made.ledger["charges"].remove(made.charge("pump-1", 1))
    made.ledger["updates"].remove(made.update("pump-1", 1))
    found = codes(made, tmp_path, earlier=world())
    assert {"update-gone", "charge-gone", "conservation-deliveries", "lost"} <= set(found)


def test_a_row_that_is_gone_and_not_counted_is_found(tmp_path: Path) -> None:
    made = tidied()
    made.row("past_updates", named_window=2)["count"] = 0
    assert "past-short" in codes(made, tmp_path, earlier=world())


def test_a_row_that_is_gone_and_counted_under_another_outcome_is_found(tmp_path: Path) -> None:
    made = tidied()
    made.row("past_updates", named_window=2).update(outcome="refused", reason="norm")
    assert "past-short" in codes(made, tmp_path, earlier=world())


def test_an_open_row_that_is_gone_and_marked_and_not_counted_is_found(tmp_path: Path) -> None:
    """How it ended nobody knows; that it ended somehow is in no count."""
    made = tidied()
    made.ledger["charges"].remove(made.charge("pump-1", 4))
    made.ledger["updates"].remove(made.update("pump-1", 4))
    memory(made, "pump-1").update(mark=4, ended=bytes([0b1111]), named_window=4)
    assert "past-short" in codes(made, tmp_path, earlier=world())


def test_what_was_settled_by_what_is_left_is_not_lowered(tmp_path: Path) -> None:
    made = tidied()
    memory(made, "pump-1")["settled"] -= 1
    balance(made)
    assert codes(made, tmp_path, earlier=tidied()) == ["budget-lowered", "past-lowered"]


def test_a_charge_that_is_gone_and_not_settled_is_found(tmp_path: Path) -> None:
    made = tidied()
    memory(made, "pump-1")["settled"] = 0
    balance(made)
    assert codes(made, tmp_path, earlier=world()) == ["budget-lowered", "past-short"]


def test_a_charge_that_is_gone_alone_is_found(tmp_path: Path) -> None:
    made = world()
    made.ledger["charges"].remove(made.charge("pump-3", 3))
    assert "charge-gone" in codes(made, tmp_path, earlier=world())


def test_a_mark_that_went_back_is_found(tmp_path: Path) -> None:
    made = tidied()
    memory(made, "pump-1").update(mark=2, ended=bytes([0b11]))
    assert codes(silent(made, "pump-1", 3), tmp_path, earlier=tidied()) == ["lost", "past-lowered"]


def test_a_mark_that_was_taken_away_is_found(tmp_path: Path) -> None:
    made = tidied()
    marks(made, "pump-1", 0b10)
    assert codes(made, tmp_path, earlier=tidied()) == ["lost", "past-lowered", "receipt-without-row"] + [
        "receipt-without-row"
    ]


def test_a_count_that_was_lowered_is_found(tmp_path: Path) -> None:
    made = tidied()
    made.row("past_updates", named_window=1)["count"] -= 1
    assert "past-lowered" in codes(made, tmp_path, earlier=tidied())


def test_a_memory_that_is_gone_is_found(tmp_path: Path) -> None:
    made = tidied()
    made.ledger["past_devices"].remove(memory(made, "pump-3"))
    assert "past-lowered" in codes(made, tmp_path, earlier=tidied())


# Told that it ended long ago ------------------------------------------------------------------------------------------


def test_who_asks_again_is_told_that_it_ended_and_may_hold_both_receipts(tmp_path: Path) -> None:
    made = tidied()
    for _ in range(2):
        told_again(made, world().update("pump-1", 1))
    assert codes(made, tmp_path) == []


def test_who_let_the_first_receipt_be_lost_may_keep_the_second(tmp_path: Path) -> None:
    made, row = tidied(), world().update("pump-1", 1)
    (kept,) = [one for one in made.homes["pump-1"]["receipts"] if one["id"] == row["id"]]
    kept["sealed"] = told_again(made, row)
    assert codes(made, tmp_path) == []


def test_who_is_told_so_while_the_ledger_knows_better_is_found(tmp_path: Path) -> None:
    made = tidied()
    told_again(made, made.update("pump-2", 3))
    assert codes(made, tmp_path) == ["again-and-there"]


def test_who_is_told_so_of_what_has_not_ended_is_found(tmp_path: Path) -> None:
    made = tidied()
    waiting: Row = made.homes["pump-2"]["waiting"][0]
    told_again(made, {"device": "pump-2", "id": waiting["id"], "named_window": 4})
    assert codes(made, tmp_path) == ["again-unended"]


def test_who_is_told_so_as_of_another_time_is_found(tmp_path: Path) -> None:
    made = tidied()
    told_again(made, world().update("pump-1", 1), at=NOON + 77)
    assert codes(made, tmp_path) == ["again-differs"]


def test_who_is_told_so_in_different_bytes_is_found(tmp_path: Path) -> None:
    made = tidied()
    told_again(made, world().update("pump-1", 1))
    told_again(made, world().update("pump-1", 1), note="again")
    assert codes(made, tmp_path) == ["again-differs"]


def test_an_answer_that_is_kept_as_an_ending_is_found(tmp_path: Path) -> None:
    made = tidied()
    way = made.row("past_updates", named_window=2)
    way.update(outcome="refused", reason="already-ended")
    assert "past-contradicts-itself" in codes(made, tmp_path)
