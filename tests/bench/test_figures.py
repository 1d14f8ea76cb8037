"""What the kernel says is read as its manual has it, and a run whose counts differ is not believed."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from bench.figures import missing
from bench.load import load_of
from bench.proc import Processors, cpu_in, cpu_s, peak_in, peak_mb, processors_in
from bench.run import run


def test_a_name_with_spaces_and_brackets_shifts_nothing() -> None:
    fields = ["S", *map(str, range(4, 14)), "700", "300", *map(str, range(16, 53))]
    assert cpu_in(f"7 (a) b) (c) {' '.join(fields)}\n") == 1000 / os.sysconf("SC_CLK_TCK")


def test_the_cpu_of_a_child_is_what_it_used() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        while cpu_s(child.pid) < 0.2:
            assert child.poll() is None
        child.kill()


def test_the_peak_is_the_high_water_mark() -> None:
    assert peak_in("VmPeak:  9 kB\nVmHWM:   1000 kB\nVmRSS:  7 kB\n") == 1.024
    assert 5 < peak_mb(os.getpid()) < 5000


def test_the_idle_share_counts_waiting_for_a_disk_as_idle() -> None:
    now = processors_in("cpu  10 0 10 60 20 0 0 0 9 9\ncpu0 1 2 3\n")
    assert now == Processors(idle=80, total=100)
    assert now.idle_share_since(Processors(idle=55, total=50)) == 0.5


@pytest.fixture(scope="module")
def ran() -> Any:
    return run(load_of(elements=1000, bits=4, updates=20, window=10))


def test_a_small_run_counts_every_update_in_each_of_its_windows(ran: Any) -> None:
    assert (ran.counted, ran.receipts, missing(ran)) == (20, 20, None)
    assert isinstance(ran.cpu_s, Mapping)
    assert sum(ran.cpu_s.values()) > 0


@pytest.mark.parametrize("changed", [{"counted": 19}, {"receipts": 19}, {"counted": 21, "receipts": 21}])
def test_a_run_whose_counts_differ_is_not_believed(ran: Any, changed: dict[str, int]) -> None:
    assert "20 updates were sent" in (missing(replace(ran, **changed)) or "")
