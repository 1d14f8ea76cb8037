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

import pytest

from mizzle import failpoints
from services.local.federation import SERVICES
from services.local.ordeal import Ordeal, Terms
from tests.chaos.looked import SEEN_S, in_the_matrix, logs, unwell, wrong
from tests.chaos.test_twins import CLEAN_S, gone_through, holds_still

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

STOP_S: Final = float(os.environ.get("MIZZLE_MATRIX_STOP_S", "6"))
"""For so long each is stopped."""

STAGES: Final = tuple(service for service in SERVICES if service != "gateway")


@in_the_matrix
@pytest.mark.parametrize("name", ["store", "broker", "gateway", "fleet-0", *STAGES])
def test_what_stands_still_is_seen_and_nothing_is_lost(folder: Path, name: str) -> None:
    with gone_through(folder, Terms(devices=8, fleets=1)) as (there, judgements):
        with stopped(there, name):
            SEEN.get(name, is_named)(there, name)
        there.clean_window(CLEAN_S)
    assert judgements[0].findings == ()


@in_the_matrix
def test_an_accountant_that_stands_still_inside_a_transaction_keeps_its_successor_waiting_until_it_is_killed(
    folder: Path,
) -> None:
    """SQLite's lock is its process's, and no successor can take it."""
    with gone_through(folder, Terms(devices=8, fleets=1)) as (there, judgements):
        there.restart("privacy_accountant", {failpoints.VARIABLE: "ledger-commit.before=stop@9"})
        there.wait_until(lambda: holds_still(there), SEEN_S, "an accountant that stands still")
        there.processes.start_beside("privacy_accountant", "privacy_accountant-successor")
        logs(there, "privacy_accountant-successor", "the ledger does not answer: database is locked")
        there.processes["privacy_accountant"].kill()
        there.clean_window(CLEAN_S)
    assert judgements[0].findings == ()


@contextmanager
def stopped(there: Ordeal, name: str) -> Iterator[None]:
    """It stands still for `STOP_S`, and for as long as is wanted to see it."""
    began = time.monotonic()
    there.processes[name].kill(signal.SIGSTOP)
    yield
    there.tend(STOP_S - (time.monotonic() - began))
    there.processes[name].kill(signal.SIGCONT)


def redis_is_away(there: Ordeal, _name: str) -> None:
    for service in SERVICES:
        logs(there, service, f"Redis does not serve {service}: Timeout reading from")
    assert "Redis does not answer" in wrong(there)["redis"]


def broker_is_away(there: Ordeal, _name: str) -> None:
    there.wait_until(lambda: unwell(there) == {"gateway"}, SEEN_S, "a gateway that hears nothing")
    found = wrong(there)
    assert "does not take MQTT 5 from gateway: no answer within 5 s" in found["broker"]
    assert "gateway last turned" in found["gateway"]


def windows_are_given_up(there: Ordeal, _name: str) -> None:
    newest, _ = there.sight.newest()
    there.wait_until(lambda: there.sight.newest()[0] > newest + 1, SEEN_S, "windows without devices")
    logs(there, "privacy_accountant", "0 arrived, the quorum is 2")
    assert unwell(there) == set()


def is_named(there: Ordeal, name: str) -> None:
    there.wait_until(lambda: unwell(there) == {name}, SEEN_S, f"{name} that stands still")
    found = wrong(there)[name]
    assert f"{name} last turned" in found
    assert found.endswith(f"next: python -m services.{name}")


SEEN: Final[Mapping[str, Callable[[Ordeal, str], None]]] = {
    "store": redis_is_away,
    "broker": broker_is_away,
    "fleet-0": windows_are_given_up,
}
"""What is to be seen of each; a service is named."""
