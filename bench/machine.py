"""The state of the machine while something was measured, printed beside every figure: disk, load, idle time."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from bench.proc import Processors, processors

if TYPE_CHECKING:
    from pathlib import Path

_SYNCS: Final = 51
_PAGE: Final = bytes(4096)


@dataclass(frozen=True)
class Machine:
    """How the machine was: the median fsync in ms, the load average of a minute, the share of idle processor time."""

    fsync_p50_ms: float
    load_average: float
    idle_share: float


@dataclass(frozen=True)
class Watch:
    """The machine when a measurement began."""

    before: Processors
    fsync_p50_ms: float

    def end(self) -> Machine:
        """The machine between then and now."""
        idle = processors().idle_share_since(self.before)
        return Machine(self.fsync_p50_ms, os.getloadavg()[0], idle)


def allow_many_files() -> None:
    """Let this process and those that it starts have as many sockets and files as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def watch(folder: Path) -> Watch:
    """Begin to watch the machine; `folder` is on the disk that matters."""
    fsync_p50_ms = fsync_ms(folder)  # first: it idles
    return Watch(processors(), fsync_p50_ms)


def fsync_ms(folder: Path) -> float:
    """How long the disk of `folder` takes for a page that is appended and forced down, in ms, the median of 51."""
    taken = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(_PAGE)
            began = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return 1000 * median(taken)
