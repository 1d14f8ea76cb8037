"""Corruptions over which the judge was once silent; each has its finding, and nothing else has."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.examples.judge.maker import NOON, World, balance, chain, codes, compact, count_kept, say, world


def _noise_was_drawn(made: World) -> None:
    """The log says that window 2 was abandoned with its noise drawn."""
    act = made.act("window.abandoned", 2)
    act["body"] = compact({**json.loads(act["body"]), "noise_was_drawn": True}).decode()
    chain(made)


def test_a_charge_is_not_void_where_the_log_says_that_noise_was_drawn(tmp_path: Path) -> None:
    made = world()
    _noise_was_drawn(made)
    assert codes(made, tmp_path) == ["charge-void"]


def test_a_charge_is_settled_where_the_log_says_that_noise_was_drawn(tmp_path: Path) -> None:
    made = world()
    _noise_was_drawn(made)
    made.charge("pump-1", 2)["state"] = "settled"
    balance(made)
    assert codes(made, tmp_path) == []


def test_an_abandoned_update_keeps_its_charge(tmp_path: Path) -> None:
    made = world()
    made.ledger["charges"].remove(made.charge("pump-1", 2))
    balance(made)
    assert codes(made, tmp_path) == ["counted-uncharged"]


def test_an_update_that_was_refused_after_it_was_bound_keeps_its_charge(tmp_path: Path) -> None:
    made = world()
    made.ledger["charges"].remove(made.charge("pump-3", 3))
    balance(made)
    assert codes(made, tmp_path) == ["counted-uncharged"]


def test_a_payload_that_waits_is_the_one_that_was_signed(tmp_path: Path) -> None:
    made = world()
    made.homes["pump-2"]["waiting"][0]["payload"] = b"torn!!!"
    assert codes(made, tmp_path) == ["waiting-forged"]


def test_a_stop_is_in_the_log(tmp_path: Path) -> None:
    made = world()
    made.ledger["federations"][0].update(halted="complete", halted_why="x", halted_at=NOON + 5)
    assert codes(made, tmp_path) == ["halt-unlogged"]


def test_an_update_that_was_kept_and_never_sent_is_missed(tmp_path: Path) -> None:
    made = world()
    count_kept(made)
    assert codes(made, tmp_path / "sound") == []
    kept = made.homes["pump-2"]["waiting"].pop()
    made.homes["pump-2"]["sent"] = [one for one in made.homes["pump-2"]["sent"] if one["id"] != kept["id"]]
    made.trace = [said for said in made.trace if said["body"] != base64.b64encode(kept["sealed"] + b"payload").decode()]
    assert codes(made, tmp_path) == ["outbox-forgot"]


@pytest.mark.parametrize("payload", [b"PAYLOAX", b"pay"])
def test_a_part_that_was_sent_again_in_other_bytes_is_found(tmp_path: Path, payload: bytes) -> None:
    made = world()
    say(made, "up/7/pump-2/update", made.homes["pump-2"]["waiting"][0]["sealed"] + payload)
    assert codes(made, tmp_path) == ["resend-differs"]


@pytest.mark.parametrize(("device", "window"), [("pump-1", 4), ("pump-3", 3)])
def test_what_is_in_no_release_is_charged_in_full_too(tmp_path: Path, device: str, window: int) -> None:
    made = world()
    made.charge(device, window)["loss"] = 1
    balance(made)
    assert codes(made, tmp_path) == ["undercharged"]


def test_no_more_arrive_than_a_window_holds(tmp_path: Path) -> None:
    made = world()
    made.row("releases", version=2)["arrived"] = 99
    assert codes(made, tmp_path) == ["window-overfull"]
