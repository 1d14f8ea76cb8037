"""The library's one clock: the pure parts are given the time, and chance with it, as a `Tick`."""

import os
import time

from mizzle.moves import Tick


def now() -> int:
    """Milliseconds since 1970-01-01 UTC, by this machine's clock."""
    return time.time_ns() // 1_000_000


def tick() -> Tick:
    """This moment, with 32 fresh bytes from the operating system."""
    return Tick(now(), os.urandom(32))
