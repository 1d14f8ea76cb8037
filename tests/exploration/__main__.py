"""`python -m tests.exploration`: larger bounds than the tests', each in minutes, and what each of them came to."""

import logging
import sys
import time

import structlog

from tests.exploration.moves import Explored
from tests.exploration.search import explore
from tests.exploration.small import plan_of
from tests.exploration.streams import SERVICES
from tests.exploration.system import System
from tests.exploration.world import Faults

BOUNDS = (
    Faults(stop=1),
    Faults(back=1, deadlines=0),
    Faults(crash=1, repeat=1, deadlines=0),
    Faults(crash=2, deadlines=0),
    Faults(crash=1, stop=1, deadlines=0),
    *(Faults(stop=1, empty=1, deadlines=0, stops=name) for name in SERVICES),  # all in one take gigabytes
)


def main() -> int:
    """Explore within each bound; 1 if a claim is broken in one of them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for faults in BOUNDS:
        began = time.process_time()
        report = explore(Explored(System(), plan_of()), faults)
        sys.stdout.write(f"{_named(faults)}: {report} ({time.process_time() - began:.0f} s of CPU)\n")
        sys.stdout.flush()
        if report.broken is not None:
            return 1
    return 0


def _named(faults: Faults) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in faults._asdict().items() if count and kind != "together")


if __name__ == "__main__":
    sys.exit(main())
