"""The bare yardstick beside the pipeline: `bare.py` as it was given, run as a program of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Final

import msgspec

from services.gateway.intake import BATCH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.load import Load

BITS: Final = 4
"""The yardstick unpacks levels of 4 bits, and no others."""

_PROGRAM: Final = Path(__file__).with_name("bare.py")
_RUNS: Final = 3
"""One run of it is off by up to 8 % either way; of so many the mean is taken."""

_TRIES: Final = 3
_MOST_S, _MOST_S_AN_UPDATE = 60.0, 0.05


class Bare(msgspec.Struct, frozen=True):
    """What the yardstick measured: the least that the same updates can cost."""

    bare_updates_per_s: float
    bare_cpu_ms_per_update: float


def measure(load: Load, aof: str, program: Path = _PROGRAM, most_s: float | None = None) -> Bare:
    """The yardstick with as many updates of the same size, in batches of the gateway's, on a Redis like ours.

    Raises:
        RuntimeError: it failed, or did not end within `most_s` three times over; the text holds what it said.
    """
    numbers = {"--elements": load.elements, "--updates": load.updates, "--batch": BATCH, "--aof": aof}
    command = [sys.executable, str(program), *(str(word) for pair in numbers.items() for word in pair)]
    most_s = most_s or _MOST_S + _MOST_S_AN_UPDATE * load.updates
    ran = [_ran(command, most_s) for _ in range(_RUNS)]
    return Bare(
        bare_updates_per_s=round(fmean(one.bare_updates_per_s for one in ran), 1),
        bare_cpu_ms_per_update=round(fmean(one.bare_cpu_ms_per_update for one in ran), 4),
    )


def _ran(command: Sequence[str], most_s: float) -> Bare:
    """One run. It draws two ports by chance, which now and then are one, and then waits for its Redis for ever."""
    for _ in range(_TRIES):
        with subprocess.Popen(  # noqa: S603  # our own program
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as child:
            try:
                said, complaint = child.communicate(timeout=most_s)
            except subprocess.TimeoutExpired:
                continue
            finally:
                with suppress(ProcessLookupError):  # with it, or after it, its broker and its Redis end
                    os.killpg(child.pid, signal.SIGKILL)
        if child.returncode != 0:
            raise RuntimeError(f"bench/bare.py ended with {child.returncode}: {complaint.strip()[-2000:]}")
        return msgspec.json.decode(said, type=Bare)
    raise RuntimeError(f"bench/bare.py was to end within {most_s:g} s and did not, {_TRIES} times over")
