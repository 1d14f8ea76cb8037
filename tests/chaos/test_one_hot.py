"""Who is in each released sum, read off the sum itself, after kills and a Redis that forgot everything."""

from contextlib import closing
from pathlib import Path
from sqlite3 import connect
from typing import Final

import numpy as np
from numpy.typing import NDArray

from examples.judge.envelope import opened as unsealed
from examples.judge.onehot import Counted, Scale, faults, opened
from examples.judge.outbox import read_outbox
from mizzle.grid import GAIN
from mizzle.terms import grid_of
from services.local.misfortune import Kind
from services.local.ordeal import PLAN, Ordeal, Terms
from tests.chaos.hot import HOT, place
from tests.chaos.test_twins import befalls, gone_through

SPARSE: Final = (
    PLAN.replace('codec = "hadamard"\nbits = 4', 'codec = "topk"\nshare = 0.003')
    .replace('mechanism = "gaussian"\nnoise_multiplier = 0.2', 'mechanism = "plain"')
    .replace('late = "fold"\nmax_staleness = 4', 'late = "refuse"')
    .replace('scores = ["norm", "history"]', 'scores = ["norm"]')
)
"""Updates of one weight in a federation without noise; each counts whole, or not at all."""


def test_whoever_has_a_receipt_is_in_the_sum_once_and_nobody_else_is(folder: Path) -> None:
    terms = Terms(devices=8, fleets=1, script="tests.chaos.one_hot", plan=SPARSE)
    with gone_through(folder, terms) as (there, judgements):
        for kind, target in (
            (Kind.KILL_SERVICE, "aggregator"),
            (Kind.KILL_SERVICE, "gateway"),
            (Kind.FLUSH_STORE, "store"),
            (Kind.KILL_DEVICES, "fleet-0"),
            (Kind.KILL_SERVICE, "privacy_accountant"),
        ):
            befalls(there, kind, target)
        grid = grid_of(there.federation.plan)
    assert judgements[0].findings == ()
    receipts = counted(there)
    assert len(receipts) >= 5 * 2
    level = 255
    scale = Scale(level=level, multiplier=round(HOT / (grid.unit * level)), gain=GAIN)
    assert faults(totals(there.federation.ledger_file), receipts, scale) == ()


def counted(there: Ordeal) -> list[Counted]:
    """The receipts that devices have of updates that count, as their outboxes keep them."""
    found = list[Counted]()
    for home in there.federation.homes.iterdir():
        for receipt in read_outbox(home / "outbox.db").receipts:
            sealed = unsealed(receipt.sealed)
            assert sealed is not None
            outcome = sealed.message["outcome"]
            if outcome["outcome"] == "counted":
                found.append(Counted(place(home.name), outcome["release"]))
    return found


def totals(ledger: Path) -> dict[int, NDArray[np.int64]]:
    """The sum of each release, by its version."""
    with closing(connect(ledger)) as read:
        rows = read.execute("SELECT version, body FROM releases JOIN blobs ON digest = total_digest").fetchall()
    return {version: opened(body) for version, body in rows}
