"""The one-hot oracle: 0 or 1, and 1 exactly with a receipt."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from examples.judge.onehot import Counted, Fault, Scale, faults, opened

SCALE: Final = Scale(level=255, multiplier=7, gain=512)


def total(*hots: float) -> NDArray[np.int64]:
    return np.array([int(hot * 64 * SCALE.one) for hot in hots], dtype=np.int64)


def test_a_sum_that_its_receipts_explain_has_no_fault() -> None:
    receipts = [Counted(0, release=1), Counted(2, release=1), Counted(1, release=2)]
    assert faults({1: total(1, 0, 1), 2: total(0, 1, 0)}, receipts, SCALE) == ()


def test_a_2_is_a_double_count() -> None:
    assert faults({1: total(2, 0)}, [Counted(0, release=1)], SCALE) == (Fault(1, 0, holds=2.0, promised=1),)


def test_a_1_without_a_receipt_is_found() -> None:
    assert faults({1: total(1, 1)}, [Counted(0, release=1)], SCALE) == (Fault(1, 1, holds=1.0, promised=0),)


def test_a_receipt_without_its_1_is_found() -> None:
    assert faults({1: total(0, 0)}, [Counted(0, release=1)], SCALE) == (Fault(1, 0, holds=0.0, promised=1),)


def test_a_1_in_another_release_than_the_receipts_is_found_in_both() -> None:
    found = faults({1: total(0), 2: total(1)}, [Counted(0, release=1)], SCALE)
    assert found == (Fault(1, 0, holds=0.0, promised=1), Fault(2, 0, holds=1.0, promised=0))


def test_a_late_update_is_a_1_at_its_own_weight() -> None:
    late = np.array([45 * SCALE.one], dtype=np.int64)
    assert faults({1: late}, [Counted(0, release=1, weight=45)], SCALE) == ()


def test_a_late_update_at_full_weight_is_found() -> None:
    found = faults({1: total(1)}, [Counted(0, release=1, weight=32)], SCALE)
    assert found == (Fault(1, 0, holds=2.0, promised=1),)


def test_two_receipts_of_one_device_in_one_release_are_found() -> None:
    found = faults({1: total(2)}, [Counted(0, release=1), Counted(0, release=1)], SCALE)
    assert found == (Fault(1, 0, holds=2.0, promised=2),)


def test_a_receipt_for_a_release_that_there_is_not_is_found() -> None:
    assert faults({}, [Counted(0, release=9)], SCALE) == (Fault(9, 0, holds=0.0, promised=1),)


def test_one_unit_off_is_found_unless_rounding_is_forgiven() -> None:
    off = total(1) + 1
    assert len(faults({1: off}, [Counted(0, release=1)], SCALE)) == 1
    assert faults({1: off}, [Counted(0, release=1)], SCALE, slack=0.01) == ()


def test_a_minus_1_is_found() -> None:
    assert faults({1: total(-1)}, [], SCALE) == (Fault(1, 0, holds=-1.0, promised=0),)


def test_a_total_is_read_as_the_ledger_keeps_it() -> None:
    assert opened(b"\x01" + bytes(7) + b"\xff" * 8).tolist() == [1, -1]
