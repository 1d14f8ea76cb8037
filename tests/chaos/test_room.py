"""Disks and memory that are full: nothing is lost, who waits says why, and with room all goes on by itself.

What a service does that is killed for want of memory is in `tests/services/runtime/test_stage.py`, and what a device
does whose own disk is full in `tests/mizzle/device/test_train.py`.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pytest

from services.local.federation import SERVICES
from services.local.ordeal import Ordeal, Terms
from services.runtime.redis_log import connected
from tests.chaos.looked import SEEN_S, in_the_matrix, log, logs, unwell, wrong
from tests.chaos.test_twins import CLEAN_S, gone_through
from tests.disks import fill, full, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEVICES: Final = 8
GOAL: Final = DEVICES // 2
MEGABYTE: Final = 2**20
SIZES: Final = {"log": 16, "payloads": 8, "store": 16, "broker": 8, "homes": 128}
"""Megabytes of each disk; the ledger lies on one of its own, with what nobody writes to."""


@pytest.fixture
def disks(folder: Path) -> Iterator[None]:
    """A disk for each thing that is written."""
    with ExitStack() as after:
        after.enter_context(small_disk(folder, 128 * MEGABYTE))
        for name, size in SIZES.items():
            after.enter_context(small_disk(folder / name, size * MEGABYTE))
        (folder / "trace.jsonl").symlink_to(folder / "log" / "trace.jsonl")
        yield


@pytest.mark.usefixtures("disks")
def test_disks_and_a_memory_that_are_full_lose_nothing_and_all_goes_on_once_there_is_room(folder: Path) -> None:
    with gone_through(folder, Terms(devices=DEVICES, fleets=1)) as (there, judgements):
        for suffers in (payloads_full, sum_without_room, ledger_full, store_full, store_without_memory, broker_full):
            suffers(there)
            there.clean_window(CLEAN_S)
    assert judgements[0].findings == ()


def payloads_full(there: Ordeal) -> None:
    """The intake waits, and windows that get nothing are given up; the services are well."""
    with full(there.federation.payloads):
        logs(there, "gateway", "cannot be written: [Errno 28] No space left on device")
        assert '"event": "the intake waits"' in log(there, "gateway")
        assert f"{there.federation.payloads} has 0 bytes left" in wrong(there)["payloads"]
        assert unwell(there) == set()


def sum_without_room(there: Ordeal) -> None:
    """A window that was gathered and finds no room for its sum waits for it."""
    aggregator = there.processes["aggregator"]
    aggregator.kill(signal.SIGSTOP)
    there.wait_until(lambda: len(there.sight.members(there.sight.newest()[0])) >= GOAL, SEEN_S, "a window's updates")
    with full(there.federation.payloads):
        aggregator.kill(signal.SIGCONT)
        logs(there, "aggregator", "cannot be written: [Errno 28] No space left on device")
        assert there.sight.newest()[1] == "open"


def ledger_full(there: Ordeal) -> None:
    """Nothing is charged, ended or released."""
    ballast = there.federation.folder / "ballast"
    with full(there.federation.folder):
        logs(there, "privacy_accountant", "the ledger does not answer: database or disk is full; is its disk full")
        fill(ballast)  # what SQLite gave back
        there.wait_until(lambda: unwell(there) == {"privacy_accountant"}, SEEN_S, "a closed accountant alone")
        before = there.sight.newest()
        found = wrong(there)
        there.tend(1.0)
        assert there.sight.newest() == before
        assert {"ledger", "privacy_accountant"} <= found.keys()
        assert "bytes left, and where it has none nothing is booked" in found["ledger"]


def store_full(there: Ordeal) -> None:
    """It refuses what is written, and all services wait; what is acknowledged is in it."""
    with full(there.store_folder):
        for service in SERVICES:
            logs(there, service, f"Redis does not serve {service}: MISCONF Errors writing to the AOF file: No space")
        assert "it refuses what is written: its disk is full" in wrong(there)["redis"]
        there.wait_until(lambda: unwell(there) == set(SERVICES), SEEN_S, "services that all wait")


def store_without_memory(there: Ordeal) -> None:
    """It refuses what is written, as on a full disk, and evicts nothing."""
    with connected(there.federation.redis_url) as client:
        client.config_set("maxmemory", "1kb")
        for service in SERVICES:
            logs(there, service, f"Redis does not serve {service}: command not allowed when used memory > 'maxmemory'")
        assert "bytes in memory and may have 1,024" in wrong(there)["redis"]
        client.config_set("maxmemory", "0")


def broker_full(there: Ordeal) -> None:
    """It goes on from memory, says so in its log, and forgets more than usual if it is killed: its devices do not."""
    with full(there.federation.folder / "broker"):
        there.processes["broker"].kill(signal.SIGUSR1)  # write what you know to your disk, now
        logs(there, "broker", "No space left on device")
        there.clean_window(CLEAN_S)
        assert unwell(there) == set()
        there.processes["broker"].kill()
        there.clean_window(CLEAN_S)


@in_the_matrix
@pytest.mark.usefixtures("disks")
def test_a_redis_that_writes_always_ends_on_a_full_disk_and_comes_back_with_room(folder: Path) -> None:
    with gone_through(folder, Terms(devices=DEVICES, fleets=1, aof="always")) as (there, judgements):
        store = there.processes["store"]
        with full(there.store_folder):
            there.wait_until(lambda: store.returncode is not None, SEEN_S, "the end of Redis")
            assert store.returncode == 1
            assert "Can't recover from AOF write error when the AOF fsync policy is 'always'" in log(there, "store")
            assert "Redis does not answer" in wrong(there)["redis"]
        there.clean_window(CLEAN_S)
    assert judgements[0].findings == ()
