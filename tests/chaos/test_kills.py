"""Every process in turn, killed while it works: its supervisor starts it again, and nothing is lost.

Killed at every point where it could matter, each of them is by the sweep; here is what an operator sees of it.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from services.local.federation import SERVICES
from services.local.ordeal import Terms
from tests.chaos.looked import SEEN_S, in_the_matrix, log, logs
from tests.chaos.test_twins import CLEAN_S, gone_through

if TYPE_CHECKING:
    from pathlib import Path


@in_the_matrix
def test_whatever_is_killed_is_started_again_and_nothing_is_lost(folder: Path) -> None:
    with gone_through(folder, Terms(devices=8, fleets=1)) as (there, judgements):
        for name in (*SERVICES, "fleet-0", "store", "broker"):
            child = there.processes[name]
            child.kill()
            assert child.wait(SEEN_S) == -signal.SIGKILL
            there.clean_window(CLEAN_S)
            assert there.processes[name].pid != child.pid
        logs(there, "gateway", "the line to the broker is down")
        for service in SERVICES:
            assert f"Redis does not serve {service}: " in log(there, service)
    assert judgements[0].findings == ()
