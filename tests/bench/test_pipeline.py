"""The bench counts what it sends, and fails where a receipt is missing."""

import pytest

from bench.crowd import payloads
from bench.pipeline import judged, measured, plan_for
from mizzle.grid import fits
from mizzle.payload import read
from mizzle.terms import bound_of


@pytest.mark.parametrize("bits", [8, 4, 2, 1])
def test_the_payloads_of_a_crowd_differ_and_fit(bits: int) -> None:
    plan, _ = plan_for(5000, bits, 4, 1)
    made = list(payloads(plan, 20, 7))
    assert len(set(made)) == 20
    updates = [read(payload, plan) for payload in made]
    assert all(fits(update.multiplier, update.sum_of_squares, bound_of(plan)) for update in updates)
    assert updates[0].multiplier > 0


def test_a_report_whose_counts_differ_is_wrong() -> None:
    assert judged({"updates": 3, "counted": 3, "receipts_delivered": 3}) == []
    assert judged({"updates": 3, "counted": 2, "receipts_delivered": 3}) == ["counted is 2, 3 updates were sent"]
    assert judged({"updates": 3, "counted": 3, "receipts_delivered": 2}) != []


def test_a_small_run_counts_every_update_in_each_of_its_windows() -> None:
    found = measured(1000, 4, 20, 2)
    assert (found["counted"], found["receipts_delivered"], judged(found)) == (20, 20, [])
    assert 0 < found["server_cpu_ms_per_update"] == pytest.approx(sum(found["cpu_ms_per_update"].values()), abs=1e-3)
