"""The library's clocks: the pure parts are given the time, and chance with it, as a `Tick`.

A machine's clock jumps: a box without a battery for it starts years ago and is put right a minute later, by the network
or by hand. What is shown to others, or compared with what they say, is told by `now`. What waits for a while goes by
`steady`, so that no jump makes it wait for a day.
"""

import os
import time
from typing import Final

from mizzle.moves import Tick

_ELAPSING: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""On Linux it goes on while the machine sleeps."""


def now() -> int:
    """Milliseconds since 1970-01-01 UTC, by this machine's clock."""
    return time.time_ns() // 1_000_000


def steady() -> int:
    """Milliseconds since 1970-01-01 UTC by this machine's clock when this process began, and what passed since."""
    return _BEGAN + time.clock_gettime_ns(_ELAPSING) // 1_000_000


def tick() -> Tick:
    """This moment by this machine's clock, with 32 fresh bytes from the operating system."""
    return Tick(now(), os.urandom(32))


def steady_tick() -> Tick:
    """This moment by the steady clock, with 32 fresh bytes from the operating system."""
    return Tick(steady(), os.urandom(32))


_BEGAN: Final = now() - time.clock_gettime_ns(_ELAPSING) // 1_000_000
