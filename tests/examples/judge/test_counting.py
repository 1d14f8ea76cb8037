"""An update is counted once, or accounted for."""

import json
from pathlib import Path

from tests.examples.judge.maker import (
    World,
    admit,
    balance,
    chain,
    codes,
    end,
    judged,
    public,
    receipt,
    say,
    seal,
    send,
    world,
)


def member_list(made: World, window: int) -> list[str]:
    """The release's members in the log, to be altered by `with_members`."""
    return list(json.loads(made.act("window.released", window)["body"])["members"])


def with_members(made: World, window: int, members: list[str]) -> None:
    act = made.act("window.released", window)
    act["body"] = json.dumps(json.loads(act["body"]) | {"members": members}, sort_keys=True, separators=(",", ":"))
    chain(made)


def test_a_doubled_member_is_found(tmp_path: Path) -> None:
    made = world()
    members = member_list(made, 1)
    with_members(made, 1, [*members, members[0]])
    found = judged(made, tmp_path)
    assert [one.code for one in found.findings] == ["member-twice"]
    assert found.doubled == 1


def test_a_member_of_two_releases_is_found(tmp_path: Path) -> None:
    made = world()
    with_members(made, 3, [*member_list(made, 3), member_list(made, 1)[0]])
    found = judged(made, tmp_path)
    assert [one.code for one in found.findings] == ["member-of-two", "members-differ"]
    assert found.doubled == 1


def test_a_member_by_a_second_receipt_is_found(tmp_path: Path) -> None:
    made = world()
    row = made.update("pump-1", 1)
    say(made, "to/pump-1/receipt", receipt(row, {"outcome": "counted", "release": 2, "window": 3, "weight": 64}))
    found = judged(made, tmp_path)
    assert [one.code for one in found.findings] == ["member-of-two", "receipt-differs", "receipt-says-otherwise"]
    assert (found.doubled, found.receipts_without_ledger_row) == (1, 1)


def test_a_second_update_of_a_device_for_one_window_is_found(tmp_path: Path) -> None:
    """Two updates in one release are worth one of twice the weight, and that costs four times as much."""
    made = world()
    admit(made, "pump-1", send(made, "pump-1", 1), 1)
    row = made.ledger["updates"][-1]
    end(made, row, {"outcome": "counted", "release": 1, "window": 1, "weight": 64}, "settled", 1)
    balance(made)
    found = judged(made, tmp_path)
    assert [one.code for one in found.findings] == [
        "members-differ",
        "members-differ",
        "second-counted",
        "undercharged",
    ]
    assert found.doubled == 1


def test_an_update_that_vanished_from_an_outbox_is_lost(tmp_path: Path) -> None:
    made = world()
    made.homes["pump-2"]["waiting"].clear()
    found = judged(made, tmp_path)
    assert [one.code for one in found.findings] == ["lost"]
    assert found.lost == 1


def test_an_update_that_only_the_broker_knows_is_lost(tmp_path: Path) -> None:
    made = world()
    made.homes["pump-2"]["waiting"].clear()
    made.homes["pump-2"]["sent"].pop()
    assert [one.code for one in judged(made, tmp_path).findings] == ["lost"]


def test_what_nobody_signed_is_not_missed(tmp_path: Path) -> None:
    made = world()
    say(made, "up/7/pump-2/update", seal("mallory", "update", {"device": "pump-2"}) + b"payload")
    assert codes(made, tmp_path) == []


def test_an_update_cleared_while_it_is_open_is_lost(tmp_path: Path) -> None:
    made = world()
    made.homes["pump-1"]["waiting"].clear()
    assert [one.code for one in judged(made, tmp_path).findings] == ["lost"]


def test_an_update_cleared_before_its_receipt_came_is_forgotten(tmp_path: Path) -> None:
    made = world()
    made.homes["pump-3"]["receipts"].pop()
    found = judged(made, tmp_path)
    assert [one.code for one in found.findings] == ["forgotten"]
    assert found.lost == 0


def test_a_send_of_an_unknown_update_is_found(tmp_path: Path) -> None:
    made = world()
    made.homes["pump-3"]["sent"].append({"number": 9, "id": bytes(32), "at": 0})
    assert [one.code for one in judged(made, tmp_path).findings] == ["lost"]


def test_a_delivery_count_off_by_one_is_found(tmp_path: Path) -> None:
    made = world()
    made.ledger["deliveries"][0]["count"] -= 1
    found = judged(made, tmp_path)
    assert [one.code for one in found.findings] == ["conservation-deliveries"]
    assert found.conservation_difference == 1


def test_a_kind_of_delivery_that_is_not_promised_is_found(tmp_path: Path) -> None:
    made = world()
    made.ledger["deliveries"].append({"federation": "pumps", "kind": "dropped", "count": 1})
    assert codes(made, tmp_path) == ["conservation-deliveries"]


def test_an_outcome_that_is_none_is_found(tmp_path: Path) -> None:
    made = world()
    made.update("pump-1", 4)["outcome"] = "misplaced"
    found = judged(made, tmp_path)
    assert [one.code for one in found.findings] == [
        "charge-state",
        "conservation-window",
        "receipt-missing",
        "row-contradicts-itself",
    ]
    assert found.conservation_difference == 1


def test_a_row_moved_to_another_window_is_found(tmp_path: Path) -> None:
    """What was signed says where it belongs."""
    made = world()
    made.update("pump-1", 4)["named_window"] = 3
    assert codes(made, tmp_path) == [
        "conservation-window",
        "conservation-window",
        "header-differs",
        "staleness-differs",
    ]


def test_a_header_that_the_device_did_not_sign_is_found(tmp_path: Path) -> None:
    made = world()
    row = made.update("pump-1", 1)
    row["sealed"] = row["sealed"][:40] + bytes(8) + row["sealed"][48:]
    assert codes(made, tmp_path) == ["header-forged", "resend-differs"]


def test_an_update_of_nobody_is_found(tmp_path: Path) -> None:
    made = world()
    made.ledger["devices"].remove(made.row("devices", device="pump-3"))
    assert codes(made, tmp_path) == ["device-unknown", "device-unknown", "identity-forged"]


def test_an_identity_for_another_key_is_found(tmp_path: Path) -> None:
    made = world()
    named = {"type": "identity.v1", "federation": "pumps", "device": "pump-3", "public_key": public("mallory")}
    made.row("devices", device="pump-3")["identity"] = seal("receipt", "identity", named)
    assert codes(made, tmp_path) == ["identity-forged"]


def test_an_open_update_in_a_window_that_has_ended_is_found(tmp_path: Path) -> None:
    made = world()
    made.update("pump-1", 4)["window"] = 2
    assert codes(made, tmp_path) == ["open-after-end", "staleness-differs"]


def test_an_update_abandoned_with_a_window_that_was_not_is_found(tmp_path: Path) -> None:
    made = world()
    row = made.update("pump-1", 2)
    row["window"] = 3
    assert codes(made, tmp_path) == ["abandoned-elsewhere", "receipt-says-otherwise"]


def test_a_staleness_that_its_weight_does_not_show_is_found(tmp_path: Path) -> None:
    made = world()
    made.update("pump-4", 2)["staleness"] = 2
    assert codes(made, tmp_path) == ["staleness-differs", "weight-unearned"]


def test_what_is_counted_beyond_the_plans_staleness_is_found(tmp_path: Path) -> None:
    made = world()
    made.update("pump-4", 2)["staleness"] = 3
    assert codes(made, tmp_path) == ["counted-unfit", "staleness-differs", "weight-unearned"]


def test_an_update_that_was_not_invited_is_found(tmp_path: Path) -> None:
    made = world()
    send(made, "pump-4", 1)
    admit(made, "pump-4", made.homes["pump-4"]["waiting"][-1], 1)
    row = made.ledger["updates"][-1]
    end(made, row, {"outcome": "counted", "release": 1, "window": 1, "weight": 64}, "settled", 1)
    balance(made)
    assert codes(made, tmp_path) == ["counted-unfit", "members-differ", "members-differ"]


def test_a_cell_of_another_type_is_found_and_its_row_is_none(tmp_path: Path) -> None:
    made = world()
    made.ledger["leases"][0]["epoch"] = "two"
    assert codes(made, tmp_path) == ["cell-of-another-type"]
