"""What processes have cost, from /proc: CPU time of all their threads, the most memory they held, how idle we were."""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_MEGABYTE: Final = 1024
PROC: Final = Path("/proc")


@dataclass(frozen=True)
class Machine:
    """Jiffies that all cores together have spent so far, and those of them spent idle."""

    total: int
    idle: int

    def idle_share_since(self, before: Machine) -> float:
        """The part of the time since `before` in which the cores had nothing to do."""
        return (self.idle - before.idle) / max(1, self.total - before.total)


def cpu_s(pid: int, proc: Path = PROC) -> float:
    """Seconds of CPU, user's and system's, of a process and all its threads [proc(5), /proc/pid/stat, 14 and 15].

    Raises:
        OSError: there is no such process any more.
    """
    fields = (proc / str(pid) / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_mb(pid: int, proc: Path = PROC) -> float:
    """The most memory that a process ever held in RAM, in MiB [proc(5), VmHWM].

    Raises:
        OSError: there is no such process any more.
    """
    lines = (proc / str(pid) / "status").read_text(encoding="ascii", errors="replace").splitlines()
    found = next(line for line in lines if line.startswith("VmHWM:"))
    return int(found.split()[1]) / _MEGABYTE


def machine(proc: Path = PROC) -> Machine:
    """The whole machine's time so far; waiting for a disk counts as idle [proc(5), /proc/stat]."""
    line = (proc / "stat").read_text(encoding="ascii").splitlines()[0]
    jiffies = [int(word) for word in line.split()[1:9]]
    return Machine(total=sum(jiffies), idle=jiffies[3] + jiffies[4])


def ms_per_update(before: Mapping[str, float], after: Mapping[str, float], updates: int) -> dict[str, float]:
    """Milliseconds of CPU per update and process, from seconds so far."""
    return {name: round(1e3 * (after[name] - before[name]) / updates, 4) for name in before}


def fsync_p50_ms(folder: Path, times: int = 51) -> float:
    """The median time that the disk below `folder` takes for a durable write of 4 kB, in milliseconds."""
    path, found = folder / "fsync", []
    with path.open("wb") as file:
        for _ in range(times):
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            found.append(1e3 * (time.perf_counter() - began))
    path.unlink()
    return round(statistics.median(found), 3)
