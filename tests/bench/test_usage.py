"""What processes have cost is read from /proc as its manual says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.usage import Machine, cpu_s, fsync_p50_ms, machine, peak_mb


def test_a_name_with_spaces_and_brackets_shifts_nothing(tmp_path: Path) -> None:
    fields = ["S", *map(str, range(4, 14)), "700", "300", *map(str, range(16, 53))]
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text(f"7 (a) b) (c) {' '.join(fields)}\n")
    assert cpu_s(7, tmp_path) == 1000 / os.sysconf("SC_CLK_TCK")


def test_the_cpu_of_a_child_is_what_it_used() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        while cpu_s(child.pid) < 0.2:
            assert child.poll() is None
        child.kill()


def test_the_peak_is_the_high_water_mark() -> None:
    assert 5 < peak_mb(os.getpid()) < 5000


def test_a_process_that_is_gone_is_an_error() -> None:
    with pytest.raises(OSError, match="No such file"):
        cpu_s(2**22 + 1)


def test_the_idle_share_counts_waiting_for_a_disk_as_idle(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  10 0 10 60 20 0 0 0 0 0\ncpu0 1 2 3\n")
    assert machine(tmp_path) == Machine(total=100, idle=80)
    assert machine(tmp_path).idle_share_since(Machine(total=50, idle=55)) == 0.5


def test_a_durable_write_takes_time_and_leaves_nothing(tmp_path: Path) -> None:
    assert fsync_p50_ms(tmp_path, times=3) > 0
    assert list(tmp_path.iterdir()) == []
