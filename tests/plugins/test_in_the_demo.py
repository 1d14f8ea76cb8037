"""Plug-ins of another package run, or misbehave, in the demo's federation: real broker, Redis, services and wrists."""

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from examples.watch import PLAN, TRAINING
from mizzle.codec import decode
from mizzle.envelope import unseal
from mizzle.grid import GAIN
from mizzle.messages import Update, Window
from mizzle.model import flat
from mizzle.plan import Plan, from_toml
from mizzle.terms import codec_of, grid_of
from mizzle.vocabulary import FULL_WEIGHT
from services.local.federation import Federation, running
from services.local.janitor import workplace
from services.local.sight import Sight
from services.local.story import start_fleets

pytestmark = pytest.mark.xdist_group("plugins")

THEIRS = {
    'policy = "uniform"': 'policy = "rota"',
    'codec = "hadamard"\nbits = 4': 'codec = "randk"\nshare = 0.25',
    "clip = 1.0": "clip = 6.0",
    'scores = ["norm", "history"]': 'scores = ["norm", "leap"]',
    'strategy = "fedavg"': 'strategy = "cautious"\npart = 0.5',
    "windows = 15": "windows = 2",
}
MOST_SECONDS = 90


@pytest.fixture
def ended(outside: Path) -> Iterator[Federation]:
    """The demo's federation with another package's plug-ins, after its two windows."""
    del outside
    with after_all_windows(THEIRS) as federation:
        yield federation


@contextmanager
def after_all_windows(theirs: dict[str, str]) -> Iterator[Federation]:
    """The demo's federation with these lines of its plan replaced, once it has halted."""
    text = PLAN.read_text()
    for ours, other in theirs.items():
        assert ours in text
        text = text.replace(ours, other)
    model = PLAN.with_name("mlp-36-64-7.safetensors").read_bytes()
    with workplace() as folder, running(folder, from_toml(text, model), model, keep_payloads=True) as federation:
        start_fleets(federation, TRAINING, seed=1)
        sight, until = Sight(federation.ledger_file, federation.plan.federation), time.monotonic() + MOST_SECONDS
        while sight.halt() is None or sight.open_updates():
            fallen = [child.last_words for child in federation.processes.tend(0.2)]
            assert not fallen
            assert time.monotonic() < until
        sight.close()
        yield federation


def rows(federation: Federation, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(federation.ledger_file)) as ledger:
        return ledger.execute(query).fetchall()


def test_they_choose_code_judge_and_combine(ended: Federation) -> None:
    plan, grid = ended.plan, grid_of(ended.plan)
    windows = [decode(body, Window) for (body,) in rows(ended, "SELECT body FROM windows ORDER BY number")]
    assert len(windows) == 2
    assert follows_a_rota(windows[1])  # the first opens as soon as enough are there, and chooses among those
    sizes = {
        decode(unseal(sealed).header, Update).payload.size for (sealed,) in rows(ended, "SELECT sealed FROM updates")
    }
    assert sizes == {codec_of(plan).payload_bytes(grid)} == {4 + 5 * 706}
    assert ("leap",) in rows(ended, "SELECT DISTINCT decided_by FROM updates WHERE window = 2")
    assert stepped_halfway(ended, plan) == [True, True]


def follows_a_rota(window: Window) -> bool:
    """Whether the cohort stands together in the order of all names, the last followed by the first."""
    names = sorted(TRAINING)
    wanted = sorted(window.cohort)
    count = len(wanted)
    return any(sorted((names + names)[start : start + count]) == wanted for start in range(len(names)))


def stepped_halfway(federation: Federation, plan: Plan) -> list[bool]:
    """Whether each release lies half of its noised mean away from its base, as `Cautious` with part = .5 steps."""
    found = []
    query = "SELECT base_digest, model_digest, total_digest, optimizer_digest FROM releases ORDER BY version"
    blobs = dict(rows(federation, "SELECT digest, body FROM blobs"))
    first = PLAN.with_name("mlp-36-64-7.safetensors").read_bytes()
    blobs[hashlib.sha256(first).digest()] = first
    for number, (base, model, total, memory) in enumerate(rows(federation, query), start=1):
        mean = np.frombuffer(blobs[total], "<i8") * grid_of(plan).unit / (GAIN * plan.window.goal * FULL_WEIGHT)
        wanted = (flat(blobs[base]) + 0.5 * mean).astype(np.float32)
        is_right = flat(blobs[model]).astype(np.float32).tolist() == wanted.tolist()
        found.append(is_right and load(blobs[memory])["steps"].tolist() == [float(number)])
    return found


@pytest.mark.usefixtures("wrong")
def test_windows_of_a_strategy_that_raises_are_abandoned_and_every_device_has_its_receipt() -> None:
    """Each at once, and the next one opens: no service falls, and nobody repairs anything by hand (I8, I31)."""
    lines = {'strategy = "fedavg"': 'strategy = "wrong"\nhow = "raise"', "windows = 15": "windows = 2"}
    with after_all_windows(lines) as federation:
        assert rows(federation, "SELECT state, version FROM windows") == [("abandoned", None)] * 2
        assert rows(federation, "SELECT DISTINCT outcome FROM updates WHERE window IS NOT NULL") == [("abandoned",)]
        assert rows(federation, "SELECT count(*) FROM releases") == [(0,)]
        told = rows(federation, "SELECT body FROM audit WHERE action = 'window.abandoned'")
        assert ["strategy 'wrong' raised RuntimeError at mizzle_wrong.py" in body for (body,) in told] == [True] * 2
        log = federation.processes["aggregator"].log.read_text()
        assert (log.count("a plug-in misbehaved"), "Traceback" in log) == (2, False)
