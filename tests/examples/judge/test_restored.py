"""A ledger that was put back: whatever goes out before a person says so, or is not paid for, is found."""

from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest

from tests.examples.judge.aging import lost, marked, resume, resumed, resumed_at_once
from tests.examples.judge.maker import (
    DEVICES,
    FEDERATION,
    NOON,
    World,
    admit,
    announce,
    balance,
    chain,
    codes,
    end,
    manifest,
    note,
    open_window,
    receipt,
    release,
    say,
    send,
    world,
)


def marked_again(made: World) -> World:
    """While the ledger waited for a person it was found older once more, and again right after that."""
    log = made.ledger["audit"]
    act = made.act("ledger.restored", FEDERATION)
    place = log.index(act)
    log[place + 1 : place + 1] = [dict(act), dict(act)]
    for number, row in enumerate(log, start=1):
        row["seq"] = number
    chain(made)
    return made


def restored_again() -> World:
    """After it has gone on it is put back a second time: what was there was the newest, and goes on at once."""
    made = marked_again(resumed())
    row = {"federation": FEDERATION, "number": 2, "at": NOON, "why": "again", "version": 5, "window": 7}
    row |= {"closed_at": NOON, "resumed_at": NOON, "because": "a try", "base_version": 5}
    made.ledger["restorations"].append(row)
    note(made, "ledger.restored", FEDERATION, why="again")
    made.row("windows", number=7).update(state="abandoned", ended_at=NOON)
    note(made, "window.abandoned", 7, noise_was_drawn=True)
    note(made, "ledger.resumed", FEDERATION, base_version=5, because="a try", version=5, window=7)
    open_window(made, 8, 5, ("pump-1", "pump-2"))
    chain(made)
    balance(made)
    return made


@pytest.mark.parametrize("after", [marked, resumed])
def test_a_ledger_that_is_marked_while_it_waits_is_sound(tmp_path: Path, after: Callable[[], World]) -> None:
    """The log has each time that it was found older, the table has them as one."""
    assert codes(marked_again(after()), tmp_path) == []


def test_a_ledger_that_is_restored_after_it_was_marked_twice_is_sound(tmp_path: Path) -> None:
    assert codes(restored_again(), tmp_path) == []


def test_a_ledger_that_goes_on_before_its_services_do_is_sound(tmp_path: Path) -> None:
    """What was open in it is given up after that, though devices were told that it counts in a release that is lost."""
    made = resumed()
    log = made.ledger["audit"]
    given_up = made.act("window.abandoned", 4)
    log.remove(given_up)
    log.insert(log.index(made.act("ledger.resumed", FEDERATION)) + 1, given_up)
    for number, act in enumerate(log, start=1):
        act["seq"] = number
    chain(made)
    assert codes(made, tmp_path) == []
    made.charge("pump-1", 4)["state"] = "void"
    balance(made)
    assert codes(made, tmp_path / "void") == ["charge-void"]


def test_a_second_restoration_that_only_the_log_has_is_found(tmp_path: Path) -> None:
    made = restored_again()
    made.ledger["restorations"].pop()
    assert "audit-differs" in codes(made, tmp_path)


def test_a_release_made_before_a_ledger_that_was_marked_twice_went_on_is_found(tmp_path: Path) -> None:
    assert set(codes(resumed_last(marked_again(resumed())), tmp_path)) == {
        "opened-while-marked",
        "released-while-marked",
    }


def resumed_last(made: World) -> World:
    """As if the person had spoken only after all that the log has."""
    acts = made.ledger["audit"]
    acts.append(acts.pop(acts.index(made.act("ledger.resumed", FEDERATION))))
    for number, act in enumerate(acts, start=1):
        act["seq"] = number
    chain(made)
    return made


def test_a_release_made_while_the_ledger_was_marked_is_found(tmp_path: Path) -> None:
    assert codes(resumed_last(resumed()), tmp_path) == [
        "opened-while-marked",
        "opened-while-marked",
        "released-while-marked",
    ]


def test_a_window_opened_while_the_ledger_is_marked_is_found(tmp_path: Path) -> None:
    made = marked()
    open_window(made, 5, 2, ("pump-1",))
    made.trace.pop()
    chain(made)
    assert codes(made, tmp_path) == ["opened-while-marked"]


def test_a_surcharge_that_is_missing_is_found(tmp_path: Path) -> None:
    made = resumed()
    made.ledger["surcharges"].clear()
    balance(made)
    assert codes(made, tmp_path) == ["surcharge-too-low"] * len(DEVICES)


def test_a_surcharge_that_is_too_low_is_found(tmp_path: Path) -> None:
    """As low as one fresh update: a late one may have been with it."""
    made = resumed()
    made.row("surcharges", device="pump-3")["loss"] = 1 << 30
    balance(made)
    assert codes(made, tmp_path) == ["surcharge-too-low"]


def test_a_surcharge_is_in_the_budget(tmp_path: Path) -> None:
    made = resumed()
    made.row("surcharges", device="pump-3")["loss"] += 1
    assert codes(made, tmp_path) == ["budget-below-charges"]


def test_a_surcharge_is_in_the_next_releases_epsilon(tmp_path: Path) -> None:
    """Of devices that are not in it, too: ε is that of the device that lost most."""
    made = resumed()
    for device in DEVICES[2:]:
        made.row("surcharges", device=device)["loss"] = 400 << 32
    balance(made)
    assert codes(made, tmp_path) == ["epsilon-understated"]


def test_a_surcharge_that_nobody_asked_for_is_found(tmp_path: Path) -> None:
    made = marked()
    made.ledger["surcharges"].append({"federation": FEDERATION, "device": "pump-1", "restoration": 1, "loss": 7})
    balance(made)
    assert codes(made, tmp_path) == ["surcharge-unfounded"]


def test_a_surcharge_may_exceed_a_budget_and_nothing_after_it_may(tmp_path: Path) -> None:
    made = resumed()
    for device in ("pump-1", "pump-3"):
        made.row("surcharges", device=device)["loss"] = 3000 << 32
    balance(made)
    found = codes(made, tmp_path)
    assert found == ["budget-exceeded", "budget-exceeded", "epsilon-understated"]


def test_a_version_that_is_used_again_is_found(tmp_path: Path) -> None:
    """Release 3 is with integrators, and this ledger makes another."""
    made = marked()
    resume(made)
    open_window(made, 6, 4, ("pump-1", "pump-2"))
    for device in ("pump-1", "pump-2"):
        admit(made, device, send(made, device, 6), 6)
    release(made, 6, 3, 2)
    chain(made)
    balance(made)
    assert set(codes(made, tmp_path)) == {"trace-release-differs", "version-reused"}


def test_a_version_that_is_used_again_is_found_beside_the_ledger_that_was_lost(tmp_path: Path) -> None:
    made = marked()
    resume(made)
    open_window(made, 6, 4, ("pump-1", "pump-2"))
    for device in ("pump-1", "pump-2"):
        admit(made, device, send(made, device, 6), 6)
    release(made, 6, 3, 2)
    made.trace.clear()
    chain(made)
    balance(made)
    assert codes(made, tmp_path, earlier=lost()) == ["version-reused", "version-reused"]


def test_a_lost_version_that_was_announced_in_two_ways_is_found(tmp_path: Path) -> None:
    made, other = resumed(), lost()
    other.row("releases", version=3)["manifest"] = manifest({"version": 3, "federation": FEDERATION})
    announce(other, 3)
    made.trace.insert(-3, other.trace[-1])
    assert "version-reused" in codes(made, tmp_path)


def test_a_lost_version_that_nobody_signed_is_found(tmp_path: Path) -> None:
    made, other = marked(), lost()
    other.row("releases", version=3)["manifest"] = manifest({"version": 3}, signer="mallory")
    announce(other, 3)
    made.trace.append(other.trace[-1])
    assert codes(made, tmp_path) == ["trace-release-without-row"]


def test_a_window_that_is_used_again_is_found(tmp_path: Path) -> None:
    made = resumed()
    note(made, "window.abandoned", 7)
    note(made, "window.opened", 5)
    chain(made)
    assert "window-reused" in codes(made, tmp_path)


def test_a_charge_that_is_void_though_noise_may_have_been_drawn_is_found(tmp_path: Path) -> None:
    """What was open when the ledger was put back counts as settled."""
    made = resumed()
    made.charge("pump-1", 4)["state"] = "void"
    balance(made)
    assert codes(made, tmp_path) == ["charge-void"]


def test_numbers_below_what_is_known_are_found(tmp_path: Path) -> None:
    made = resumed_at_once()
    made.row("restorations", number=1)["version"] = 1
    assert codes(made, tmp_path) == ["audit-differs", "restoration-contradicts-itself"]


def test_more_releases_than_windows_can_have_made_are_found(tmp_path: Path) -> None:
    made = resumed()
    made.row("restorations", number=1)["version"] = 9
    found = codes(made, tmp_path)
    assert {"audit-differs", "restoration-contradicts-itself", "surcharge-too-low"} <= set(found)


def test_a_restoration_that_nobody_gave_a_reason_for_is_found(tmp_path: Path) -> None:
    made = resumed()
    made.row("restorations", number=1)["because"] = ""
    assert codes(made, tmp_path) == ["audit-differs", "restoration-contradicts-itself"]


def test_a_restoration_that_the_log_does_not_have_is_found(tmp_path: Path) -> None:
    made = resumed()
    made.act("ledger.resumed", FEDERATION)["action"] = "ledger.looked-at"
    chain(made)
    assert codes(made, tmp_path) == [
        "audit-missing",
        "opened-while-marked",
        "opened-while-marked",
        "released-while-marked",
    ]


def test_a_restoration_that_only_the_log_has_is_found(tmp_path: Path) -> None:
    made = marked()
    made.ledger["restorations"].clear()
    assert "audit-differs" in codes(made, tmp_path)


def test_a_resumption_that_only_the_log_has_is_found(tmp_path: Path) -> None:
    made = marked()
    note(made, "ledger.resumed", FEDERATION, because="the disk")
    chain(made)
    assert codes(made, tmp_path) == ["audit-differs"]


def test_a_receipt_for_a_release_that_is_not_lost_needs_its_row(tmp_path: Path) -> None:
    made = resumed()
    row = world().update("pump-1", 1) | {"id": bytes(32)}
    say(made, "to/pump-1/receipt", receipt(row, {"outcome": "counted", "release": 2, "window": 3, "weight": 64}))
    assert codes(made, tmp_path) == ["receipt-without-row"]


def test_another_receipt_of_an_update_that_was_not_lost_is_found(tmp_path: Path) -> None:
    made = resumed()
    say(made, "to/pump-1/receipt", receipt(made.update("pump-1", 1), {"outcome": "abandoned", "window": 1}))
    assert codes(made, tmp_path) == ["receipt-differs", "receipt-says-otherwise"]


def test_a_receipt_for_a_window_after_the_newest_needs_its_row(tmp_path: Path) -> None:
    made = resumed()
    row = world().update("pump-1", 1) | {"id": bytes(32), "named_window": 6}
    say(made, "to/pump-1/receipt", receipt(row, {"outcome": "abandoned", "window": 6}))
    assert codes(made, tmp_path) == ["receipt-without-row"]


def test_who_is_refused_as_restored_without_reason_is_found(tmp_path: Path) -> None:
    """Nobody has lost window 7."""
    made = resumed()
    admit(made, "pump-1", send(made, "pump-1", 7), 7)
    end(made, made.update("pump-1", 7), {"outcome": "refused", "reason": "restored", "why": "lost"}, "settled", None)
    balance(made)
    assert codes(made, tmp_path) == ["restored-unfounded"]


def test_a_window_that_is_left_out_without_reason_is_found(tmp_path: Path) -> None:
    made = world()
    made.ledger["windows"].append(made.row("windows", number=4) | {"number": 6, "state": "abandoned", "ended_at": 1})
    assert "window-hole" in codes(made, tmp_path)


def test_a_skipped_window_that_somebody_was_in_is_found(tmp_path: Path) -> None:
    made = resumed()
    row = made.row("windows", number=5)
    row["body"] = msgpack.packb(msgpack.unpackb(row["body"]) | {"cohort": ["pump-1"]})
    assert codes(made, tmp_path) == ["window-contradicts-itself"]


def test_a_person_who_said_too_little_is_found_beside_the_ledger_that_was_lost(tmp_path: Path) -> None:
    found = set(codes(resumed_at_once(), tmp_path, earlier=lost()))
    assert found == {"budget-lowered", "outcome-changed", "release-gone", "window-reused"}


def test_a_window_that_no_restoration_lost_is_found_beside_the_ledger_that_was_lost(tmp_path: Path) -> None:
    made = resumed_at_once()
    made.ledger["windows"].remove(made.row("windows", number=5))
    made.ledger["audit"].remove(made.act("window.opened", 5))
    assert "window-gone" in codes(made, tmp_path, earlier=lost())


def test_an_update_of_a_release_that_stands_is_missed_beside_the_ledger_that_was_lost(tmp_path: Path) -> None:
    made = resumed()
    made.ledger["charges"].remove(made.charge("pump-2", 1))
    made.ledger["updates"].remove(made.update("pump-2", 1))
    assert "outcome-changed" in codes(made, tmp_path, earlier=lost())


def test_an_end_that_is_another_is_found_beside_the_ledger_that_was_lost(tmp_path: Path) -> None:
    made = resumed()
    row = made.update("pump-1", 2)
    row["receipt"] = receipt(row, {"outcome": "abandoned", "window": 2, "note": "again"})
    assert "outcome-changed" in codes(made, tmp_path, earlier=lost())


def test_a_device_that_did_not_pay_is_found_beside_the_ledger_that_was_lost(tmp_path: Path) -> None:
    made = resumed()
    made.row("budgets", device="pump-2")["settled"] = 0
    assert "budget-lowered" in codes(made, tmp_path, earlier=lost())


def test_a_log_that_parts_without_a_restoration_is_found(tmp_path: Path) -> None:
    made = resumed()
    for act in made.ledger["audit"]:
        act["action"] = act["action"].replace("ledger.restored", "ledger.looked-at")
    chain(made)
    assert {"audit-changed", "audit-gone"} & set(codes(made, tmp_path, earlier=lost()))
