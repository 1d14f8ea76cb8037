"""What the kernel says is read as its manual has it."""

import os
import subprocess
import sys

import pytest

from bench.proc import Processors, cpu_in, cpu_s, peak_in, peak_mb, processors, processors_in

TICKS = os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("name", ["python", "a) b) (c", ") 1 2 3 4"])
def test_a_name_with_spaces_and_brackets_shifts_nothing(name: str) -> None:
    fields = ["S", *map(str, range(4, 14)), "700", "300", *map(str, range(16, 53))]
    assert cpu_in(f"7 ({name}) {' '.join(fields)}\n") == 1000 / TICKS


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


def test_the_machines_own_text_can_be_read() -> None:
    assert 0 < processors().idle < processors().total
