"""Devices' logs."""

import sqlite3
from contextlib import closing
from pathlib import Path

from examples.judge.evidence import gathered
from examples.judge.verdict import verdict
from tests.examples.judge.maker import codes, say, seal, send, world, written


def test_an_update_that_waits_beside_its_receipt_is_found(tmp_path: Path) -> None:
    made = world()
    row = made.update("pump-3", 3)
    waiting = {"number": 9, "id": row["id"], "window": 3, "at": 0, "sealed": row["sealed"], "payload": b"payload"}
    made.homes["pump-3"]["waiting"].append(waiting)
    assert codes(made, tmp_path) == ["waiting-and-ended"]


def test_a_counter_behind_what_was_signed_is_found(tmp_path: Path) -> None:
    made = world()
    made.homes["pump-1"]["memory"][0]["value"] = 4
    assert codes(made, tmp_path) == ["counter-passed"]


def test_a_counter_behind_a_presence_is_found(tmp_path: Path) -> None:
    made = world()
    say(made, "up/7/pump-1/presence", seal("pump-1", "presence", {"type": "presence.v1"}, 256))
    assert codes(made, tmp_path) == ["counter-passed"]


def test_a_number_that_was_signed_under_twice_is_found(tmp_path: Path) -> None:
    made = world()
    send(made, "pump-2", 4, counter=2)
    assert codes(made, tmp_path) == ["counter-twice"]


def test_a_waiting_update_whose_bytes_are_not_its_ids_is_found(tmp_path: Path) -> None:
    made = world()
    made.homes["pump-2"]["waiting"][0]["sealed"] += b"."
    assert codes(made, tmp_path) == ["waiting-forged"]


def test_a_waiting_update_under_another_window_is_found(tmp_path: Path) -> None:
    made = world()
    made.homes["pump-2"]["waiting"][0]["window"] = 5
    assert codes(made, tmp_path) == ["waiting-forged"]


def test_an_identity_that_the_federation_did_not_seal_is_found(tmp_path: Path) -> None:
    made = world()
    named = {"federation": "pumps", "device": "pump-2"}
    made.homes["pump-2"]["memory"][1]["value"] = seal("mallory", "identity", named)
    assert codes(made, tmp_path) == ["identity-forged"]


def test_an_identity_of_another_federation_is_found(tmp_path: Path) -> None:
    made = world()
    made.homes["pump-2"]["memory"][1]["value"] = seal("receipt", "identity", {"federation": "x", "device": "pump-2"})
    assert codes(made, tmp_path) == ["identity-forged"]


def test_a_cell_of_another_type_in_an_outbox_is_found(tmp_path: Path) -> None:
    made = world()
    made.homes["pump-4"]["receipts"].append({"number": 9, "id": "none", "window": 1, "at": 0, "sealed": b""})
    assert codes(made, tmp_path) == ["cell-of-another-type"]


def test_a_log_that_is_being_written_is_read_up_to_its_last_commit(tmp_path: Path) -> None:
    files = written(world(), tmp_path)
    with closing(sqlite3.connect(files.ledger)) as line:
        line.execute("PRAGMA journal_mode=WAL")
        line.execute("UPDATE deliveries SET count = count + 1")
        line.commit()
        found = verdict(gathered(files.ledger, files.homes, files.trace, None))
    assert [one.code for one in found.findings] == ["conservation-deliveries"]
