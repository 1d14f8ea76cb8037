"""Clocks that jump by a day, forwards and back, of services and of devices, while they run and when they start."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from services.local.federation import SERVICES
from services.local.ordeal import Ordeal, Terms
from tests.chaos.looked import in_the_matrix
from tests.chaos.test_twins import CLEAN_S, gone_through
from tests.servers import missing

FAKETIME: Final = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
JUMPS: Final = ("+1d", "-1d", "+0")


@pytest.fixture
def faketime(folder: Path) -> dict[str, str]:
    """The environment of a process whose clock is off by what the file `clock` says; what elapses is left alone."""
    if not FAKETIME.is_file():
        missing("faketime")
    clock = folder / "clock"
    clock.write_text("+0\n")
    quiet = {"DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1", "FAKETIME_NO_CACHE": "1"}
    return {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(clock), **quiet}


def set_clock(there: Ordeal, offset: str) -> None:
    """Set it in one move: who reads it meanwhile reads the old one or the new."""
    folder = there.federation.folder
    (folder / "clock.new").write_text(f"{offset}\n")
    (folder / "clock.new").rename(folder / "clock")


def test_a_clock_that_jumps_by_a_day_while_all_services_run_stops_no_window(
    folder: Path, faketime: dict[str, str]
) -> None:
    with gone_through(folder, Terms(devices=8, fleets=1)) as (there, judgements):
        for service in SERVICES:
            there.restart(service, faketime)
        for jump in JUMPS:
            set_clock(there, jump)
            there.clean_window(CLEAN_S)
    assert judgements[0].findings == ()


def test_devices_whose_clocks_are_a_day_off_take_part(folder: Path, faketime: dict[str, str]) -> None:
    """All devices are in one process: a window that is released has updates of such clocks alone."""
    with gone_through(folder, Terms(devices=8, fleets=1)) as (there, judgements):
        for jump in JUMPS:
            set_clock(there, jump)
            there.restart("fleet-0", faketime)
            there.clean_window(CLEAN_S)
        for jump in JUMPS:
            set_clock(there, jump)
            there.clean_window(CLEAN_S)
    assert judgements[0].findings == ()


@in_the_matrix
def test_a_redis_whose_clock_jumps_by_a_day_stops_no_window(folder: Path, faketime: dict[str, str]) -> None:
    """It numbers entries by its clock, and never backwards."""
    with gone_through(folder, Terms(devices=8, fleets=1)) as (there, judgements):
        there.restart("store", faketime)
        for jump in JUMPS:
            set_clock(there, jump)
            there.clean_window(CLEAN_S)
        for jump in JUMPS:
            set_clock(there, jump)
            there.restart("store", faketime)
            there.clean_window(CLEAN_S)
    assert judgements[0].findings == ()


@in_the_matrix
@pytest.mark.parametrize("service", SERVICES)
def test_a_clock_that_only_one_service_has_stops_no_window(
    folder: Path, faketime: dict[str, str], service: str
) -> None:
    with gone_through(folder, Terms(devices=8, fleets=1)) as (there, judgements):
        for jump in JUMPS:
            set_clock(there, jump)
            there.restart(service, faketime)
            there.clean_window(CLEAN_S)
    assert judgements[0].findings == ()
