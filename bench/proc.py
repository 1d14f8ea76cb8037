"""What the kernel says of processes and of the machine: processor time, peak memory, idle time (proc(5))."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
_IDLE: Final = (3, 4)  # of the columns of /proc/stat: idle, iowait
_COUNTED: Final = 8  # guest time, in the columns behind, is part of user time already


@dataclass(frozen=True)
class Processors:
    """How long all processors together have been up and idle, in clock ticks since boot."""

    idle: int
    total: int

    def idle_share_since(self, before: Processors) -> float:
        """The part of the processors' time since `before` in which they did nothing."""
        return (self.idle - before.idle) / max(1, self.total - before.total)


def cpu_s(pid: int) -> float:
    """The processor time that a process has used, in seconds: user and system, all its threads."""
    return cpu_in(Path(f"/proc/{pid}/stat").read_text())


def peak_mb(pid: int) -> float:
    """The most memory that a process has ever had resident, in MB (10^6 bytes)."""
    return peak_in(Path(f"/proc/{pid}/status").read_text())


def processors() -> Processors:
    """The processors' time until now."""
    return processors_in(Path("/proc/stat").read_text())


def cpu_in(stat: str) -> float:
    """The seconds in the text of /proc/PID/stat; the name in it may hold spaces and brackets."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def peak_in(status: str) -> float:
    """The MB in the text of /proc/PID/status."""
    (kilobytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024 / 1e6


def processors_in(stat: str) -> Processors:
    """The ticks in the text of /proc/stat, of all processors together."""
    columns = [int(column) for column in stat.splitlines()[0].split()[1 : 1 + _COUNTED]]
    return Processors(idle=sum(columns[at] for at in _IDLE), total=sum(columns))
