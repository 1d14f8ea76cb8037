"""Processes that stand still for longer than anybody waits for them, and go on: SIGSTOP, then SIGCONT.

In the short form each is stopped for longer than the patience that others have with it is: 5 s for a pulse and for an
answer of Redis, 3 s for a heartbeat, a deadline of 1.5 s for a window. `make matrix` stops each for 60 s, which is also
longer than the keepalive of a line (30 s; the broker waits half as long again) and the patience of whoever publishes
(10 s).
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from services.local.federation import SERVICES
from services.local.ordeal import Ordeal, Terms
from tests.chaos.looked import SEEN_S, in_the_matrix, logs, unwell, wrong
from tests.chaos.test_twins import CLEAN_S, gone_through

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STOP_S: Final = float(os.environ.get("MIZZLE_MATRIX_STOP_S", "6"))
"""For so long each is stopped."""

STAGES: Final = tuple(service for service in SERVICES if service != "gateway")


@in_the_matrix
def test_a_broker_a_redis_a_gateway_or_devices_that_stand_still_lose_nothing(folder: Path) -> None:
    with gone_through(folder, Terms(devices=8, fleets=1)) as (there, judgements):
        for name, seen in (
            ("store", redis_is_away),
            ("broker", broker_is_away),
            ("gateway", gateway_is_named),
            ("fleet-0", windows_are_given_up),
        ):
            with stopped(there, name):
                seen(there)
            there.clean_window(CLEAN_S)
        there.wait_until(lambda: bool(there.sight.folds()), SEEN_S, "a late update that is folded")
    assert judgements[0].findings == ()


@contextmanager
def stopped(there: Ordeal, *names: str) -> Iterator[None]:
    """These stand still for `STOP_S`, and for as long as is wanted to see it."""
    began = time.monotonic()
    for name in names:
        there.processes[name].kill(signal.SIGSTOP)
    yield
    there.tend(STOP_S - (time.monotonic() - began))
    for name in names:
        there.processes[name].kill(signal.SIGCONT)


def redis_is_away(there: Ordeal) -> None:
    for service in SERVICES:
        logs(there, service, f"Redis does not serve {service}: Timeout reading from")
    assert "Redis does not answer" in wrong(there)["redis"]


def broker_is_away(there: Ordeal) -> None:
    wait_for(there, lambda: unwell(there) == {"gateway"}, "a gateway that hears nothing")
    found = wrong(there)
    assert "does not take MQTT 5 from gateway: no answer within 5 s" in found["broker"]
    assert "gateway last turned" in found["gateway"]


def gateway_is_named(there: Ordeal) -> None:
    wait_for(there, lambda: unwell(there) == {"gateway"}, "a gateway that stands still")
    assert "python -m services.gateway" in wrong(there)["gateway"]


def windows_are_given_up(there: Ordeal) -> None:
    newest, _ = there.sight.newest()
    wait_for(there, lambda: there.sight.newest()[0] > newest + 1, "windows without devices")
    logs(there, "privacy_accountant", "0 arrived, the quorum is 2")
    assert unwell(there) == set()


@in_the_matrix
def test_services_that_stand_still_are_named_and_lose_nothing(folder: Path) -> None:
    """One after the other where there is time for it, else all at once."""
    with gone_through(folder, Terms(devices=8, fleets=1)) as (there, judgements):
        for names in [STAGES] if STOP_S < 60 else [(name,) for name in STAGES]:  # as in the matrix
            with stopped(there, *names):
                wait_for(there, lambda: unwell(there) == set(names), f"{names} that stand still")  # noqa: B023  # called here
                found = wrong(there)
                assert all(f"{name} last turned" in found[name] for name in names)
                before = there.sight.newest()
            there.clean_window(CLEAN_S)
            assert before[1] in {"open", "released", "abandoned"}
    assert judgements[0].findings == ()


def wait_for(there: Ordeal, is_so: Callable[[], bool], what: str) -> None:
    there.wait_until(is_so, SEEN_S, what)
