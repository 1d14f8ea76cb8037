"""Two of a kind at once, and stores that go back: a federation of real processes that goes through it is found sound.

Each test lets one thing befall a federation that runs, sees a clean window close afterwards, and hears the independent
judge at the end.
"""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from services.local.federation import SERVICES
from services.local.inflict import inflict
from services.local.judgement import Judgement
from services.local.misfortune import Kind, Misfortune
from services.local.ordeal import Ordeal, Terms, ordeal
from services.local.store import Aof

CLEAN_S = 30.0
"""Within 10 s where nothing else runs; other tests run beside this one."""


@contextmanager
def gone_through(folder: Path, terms: Terms) -> Iterator[tuple[Ordeal, list[Judgement]]]:
    """A federation at work; when the block is over it is drained and judged, and the judgement is in the list."""
    judgements: list[Judgement] = []
    with ordeal(folder, terms) as there:
        there.first_window()
        yield there, judgements
        there.heal()
        there.drain()
        judgements.append(there.verdict())


def befalls(there: Ordeal, kind: Kind, target: str, lasts_s: float = 0.0) -> None:
    """It befalls the target, lasts, ends, and a window that is opened afterwards is released."""
    end = inflict(there, Misfortune(at_s=0.0, kind=kind, target=target, lasts_s=lasts_s))
    assert end is not None
    there.tend(lasts_s)
    end()
    there.heal()
    there.clean_window(CLEAN_S)


def test_a_service_that_wakes_beside_its_successor_changes_nothing(folder: Path) -> None:
    """Each in turn is stopped, its successor closes a window without it, and then both of them run."""
    with gone_through(folder, Terms(devices=8, fleets=1)) as (there, judgements):
        for service in SERVICES:
            stop_between_transactions(there, service)
            end = inflict(there, Misfortune(at_s=0.0, kind=Kind.SUCCEED_SERVICE, target=service))
            assert end is not None
            there.clean_window(CLEAN_S)
            end()
            there.clean_window(CLEAN_S)
            there.wait_until(lambda: alone(there, service), CLEAN_S, f"one {service} alone")  # noqa: B023  # called here
    assert judgements[0].findings == ()


def stop_between_transactions(there: Ordeal, service: str) -> None:
    """Stop the service where it does not hold the ledger: who stands still with it keeps a successor waiting."""
    process = there.processes[service]
    process.kill(signal.SIGSTOP)
    while holds_still(there):
        process.kill(signal.SIGCONT)
        there.tend(0.05)
        process.kill(signal.SIGSTOP)


def holds_still(there: Ordeal) -> bool:
    """Whether somebody holds the ledger for longer than anybody does who goes on."""
    with closing(sqlite3.connect(there.federation.ledger_file, timeout=1.0, isolation_level=None)) as ledger:
        try:
            ledger.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        ledger.execute("ROLLBACK")
        return False


def alone(there: Ordeal, service: str) -> bool:
    """Whether one of the two has ended; the supervisor starts the first one again, which ends the second."""
    return there.processes[f"{service}-successor"].returncode is not None


@pytest.mark.parametrize("aof", ["everysec", "no"])
def test_a_redis_that_forgets_or_goes_back_loses_nothing(folder: Path, aof: Aof) -> None:
    with gone_through(folder, Terms(devices=8, fleets=1, aof=aof)) as (there, judgements):
        befalls(there, Kind.FLUSH_STORE, "store")
        befalls(there, Kind.KILL_STORE, "store")
        for seconds in (0.2, 1.0, 2.0):
            befalls(there, Kind.ROLL_BACK_STORE, "store", seconds)
    assert judgements[0].findings == ()


def test_a_broker_that_dies_with_its_memory_or_without_loses_nothing(folder: Path) -> None:
    with gone_through(folder, Terms(devices=8, fleets=1)) as (there, judgements):
        for kind in (Kind.KILL_BROKER, Kind.WIPE_BROKER, Kind.KILL_BROKER, Kind.WIPE_BROKER):
            befalls(there, kind, "broker")
    assert judgements[0].findings == ()
