"""What a codec loses of one change is made up for in the next, within the same clip, and survives a loss of power."""

import os
from pathlib import Path

import numpy as np
import pytest

from mizzle.device.feedback import carried, still_lost
from mizzle.device.outbox import Outbox
from mizzle.grid import Vector, value
from mizzle.payload import read, written
from mizzle.plan import Plan, from_toml
from mizzle.terms import bound_of, grid_of
from tests.makers import MODEL, PLAN, plan
from tests.mizzle.device.federation import Federation

INVITATION = Federation().invite("pump-7")


def sparse() -> Plan:
    return from_toml(PLAN.replace('"hadamard"\nbits = 8', '"topk"\nshare = 0.05'), MODEL)


def change(of: Plan, seed: int, norm: float = 0.2) -> Vector:
    vector = np.random.default_rng(seed).normal(size=of.model.parameters)
    return vector * (norm / float(np.linalg.norm(vector)))


def sent_and_lost(of: Plan, wanted: Vector, lost: bytes) -> tuple[Vector, bytes]:
    wanted = carried(wanted, lost, of)
    payload = written(wanted, of, INVITATION.seed, bound_of(of), os.urandom)
    return value(grid_of(of), read(payload, of), INVITATION.seed), still_lost(wanted, payload, of, INVITATION)


def test_what_is_sent_and_what_is_lost_are_together_what_was_wanted() -> None:
    of, lost, wanted = sparse(), b"", np.zeros(60)
    total = np.zeros(60)
    for window in range(5):
        sent, lost = sent_and_lost(of, change(of, window), lost)
        total, wanted = total + sent, wanted + change(of, window)
    assert total + np.frombuffer(lost, "<f4") == pytest.approx(wanted, abs=1e-5)


def test_a_small_change_that_goes_on_is_sent_in_the_end() -> None:
    """Without feedback it would never be among the largest."""
    of, lost = sparse(), b""
    steady = np.full(60, 0.001)
    steady[:3] = 0.01
    arrived = np.zeros(60)
    for _ in range(60):
        sent, lost = sent_and_lost(of, steady, lost)
        arrived += sent
    assert (arrived > 0).all()


def test_what_was_lost_never_makes_an_update_longer_than_the_clip() -> None:
    of, lost = sparse(), b""
    for window in range(20):
        wanted = carried(change(of, window, norm=3.0), lost, of)
        assert np.linalg.norm(wanted) <= of.update.clip * (1 + 1e-12)
        _, lost = sent_and_lost(of, change(of, window, norm=3.0), lost)
        assert np.linalg.norm(np.frombuffer(lost, "<f4")) <= of.update.clip * (1 + 1e-6)


def test_a_codec_that_needs_no_feedback_leaves_nothing_behind() -> None:
    assert sent_and_lost(plan(), change(plan(), 1), b"")[1] == b""


def test_what_another_model_lost_is_let_go() -> None:
    of = sparse()
    assert carried(change(of, 1), b"\0\0\x80\x3f" * 7, of).tolist() == carried(change(of, 1), b"", of).tolist()


def test_what_was_lost_is_kept_with_the_update_and_survives(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.db") as outbox:
        assert outbox.lost == b""
        outbox.keep(b"1" * 32, 1, b"sealed", b"payload", b"lost")
        outbox.keep(b"2" * 32, 2, b"sealed", b"payload")
    with Outbox(tmp_path / "outbox.db") as outbox:
        assert outbox.lost == b"lost"
