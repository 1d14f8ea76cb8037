"""The bare yardstick beside the pipeline: `bare.py` as it was given, run as a program of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from services.gateway.intake import BATCH

if TYPE_CHECKING:
    from bench.load import Load

BITS: Final = 4
"""The yardstick unpacks levels of 4 bits, and no others."""

_PROGRAM: Final = Path(__file__).with_name("bare.py")
_MOST_S: Final = 1800.0


class Bare(msgspec.Struct, frozen=True):
    """What the yardstick measured: the least that the same updates can cost."""

    bare_updates_per_s: float
    bare_cpu_ms_per_update: float


def measure(load: Load, aof: str) -> Bare:
    """The yardstick with as many updates of the same size, in batches of the gateway's, on a Redis like ours.

    Raises:
        RuntimeError: it failed; the text holds what it said.
    """
    numbers = {"--elements": load.elements, "--updates": load.updates, "--batch": BATCH, "--aof": aof}
    arguments = [str(word) for pair in numbers.items() for word in pair]
    ran = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, str(_PROGRAM), *arguments], capture_output=True, text=True, timeout=_MOST_S, check=False
    )
    if ran.returncode != 0:
        raise RuntimeError(f"bench/bare.py ended with {ran.returncode}: {ran.stderr.strip()[-2000:]}")
    return msgspec.json.decode(ran.stdout, type=Bare)
