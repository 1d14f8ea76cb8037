"""Few updates and many are compared in windows that are alike but for their members."""

import pytest

from bench.load import Load
from bench.memory import loads
from mizzle.errors import Misconfigured


def test_the_few_come_in_two_windows_and_the_many_in_full_ones() -> None:
    assert loads(1_000_000, 100, 10_000, 1_000) == (
        Load(elements=1_000_000, bits=4, updates=100, window=50),
        Load(elements=1_000_000, bits=4, updates=10_000, window=1_000),
    )


@pytest.mark.parametrize(("few", "many"), [(101, 10_000), (1, 10_000), (100, 10_001)])
def test_updates_that_fill_no_whole_windows_are_refused(few: int, many: int) -> None:
    with pytest.raises(Misconfigured, match="whole number of windows"):
        loads(1_000_000, few, many, 1_000)
