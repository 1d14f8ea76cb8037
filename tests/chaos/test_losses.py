"""What was stored and is gone: of a service, of Redis, of the payload store, of a device, and of the ledger itself."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Final

import pytest

from mizzle.topics import Keyspace
from services.ledger.ledger import Ledger
from services.local.federation import SERVICES
from services.local.fleet import Fleet, Wrist
from services.local.fleets import start_fleet
from services.local.inflict import inflict, while_down
from services.local.misfortune import Kind, Misfortune
from services.local.ordeal import REST, Ordeal, Terms
from services.local.waiting import LOOPBACK
from services.runtime.redis_log import connected
from services.runtime.shell import CONFIGURATION
from tests.chaos.looked import SEEN_S, in_the_matrix, log, logs, wrong
from tests.chaos.test_twins import CLEAN_S, gone_through

if TYPE_CHECKING:
    from pathlib import Path

    from services.local.processes import Processes

FEDERATION: Final = "chaos"


@in_the_matrix
def test_what_is_lost_of_services_of_payloads_and_of_redis_costs_no_update(folder: Path) -> None:
    with gone_through(folder, Terms(devices=8, fleets=1)) as (there, judgements):
        for service in SERVICES:
            forgotten(there, service)
            logs(there, service, "epoch none")
        there.clean_window(CLEAN_S)
        for _ in range(2):
            shutil.rmtree(there.federation.payloads)
            there.clean_window(CLEAN_S)
        wiped = inflict(there, Misfortune(at_s=0.0, kind=Kind.WIPE_BROKER, target="broker"))
        assert wiped is not None
        logs(there, "gateway", "the broker knows no session of ours")
        there.clean_window(CLEAN_S)
        while_down(there, "store", there.store_port, lambda: shutil.rmtree(there.store_folder / "appendonlydir"))
        there.clean_window(CLEAN_S)
    assert judgements[0].findings == ()


def forgotten(there: Ordeal, service: str) -> None:
    """Redis forgets what this service has remembered there, and how far it has read."""
    name = Ledger.open(f"sqlite:///{there.federation.ledger_file}", FEDERATION).name
    with connected(there.federation.redis_url) as client:
        assert client.delete(Keyspace(name, FEDERATION).place(service)) == 1


@in_the_matrix
def test_a_device_whose_home_is_gone_takes_part_again_under_a_new_name(folder: Path) -> None:
    with gone_through(folder, Terms(devices=8, fleets=1)) as (there, judgements):
        fleet = there.processes["fleet-0"]
        fleet.kill()
        fleet.wait(SEEN_S)
        shutil.rmtree(there.federation.homes / "novice-1")
        (there.federation.homes / "novice-1").mkdir(mode=0o700)
        there.processes.restart("fleet-0")
        logs(there, "privacy_accountant", '"why": "another key is enrolled under this name"')
        there.clean_window(CLEAN_S)
        anew(there, "novice-1-again")
        there.wait_until(lambda: "novice-1-again" in there.sight.devices(), SEEN_S, "an update of the new one")
    assert judgements[0].findings == ()


def anew(there: Ordeal, name: str) -> None:
    """Start a device of this name, with a token of its own."""
    home = there.federation.homes / name
    home.mkdir(mode=0o700)
    environment = {
        "MIZZLE_BROKER": f"mqtt://{LOOPBACK}:{there.federation.broker.port}",
        "MIZZLE_HOME": str(home),
        "MIZZLE_TOKEN": there.federation.founded.token(name),
        REST: str(there.rest),
    }
    wrist = Wrist(name=name, script=there.terms.script, environment=environment)
    start_fleet(there.processes, "fleet-anew", Fleet(there.federation.broker.port, 0, (wrist,)), keep=True)


@in_the_matrix
def test_a_ledger_that_is_taken_away_stops_the_accountant_and_put_back_it_goes_on(folder: Path) -> None:
    with gone_through(folder, Terms(devices=8, fleets=1)) as (there, judgements):
        file = there.federation.ledger_file
        file.rename(folder / "elsewhere.db")
        accountant = there.processes["privacy_accountant"]
        there.wait_until(lambda: accountant.returncode is not None, SEEN_S, "the accountant's end")
        assert accountant.returncode == CONFIGURATION
        assert f"{file} is not the file that was opened: it was deleted or replaced" in log(there, accountant.name)
        logs(there, accountant.name, f"there is no ledger at {file}; if there was one, stop the services")
        assert not file.exists()
        assert "restore the newest copy" in wrong(there)["ledger"]
        (folder / "elsewhere.db").rename(file)
        there.clean_window(CLEAN_S)
    assert judgements[0].findings == ()


@pytest.mark.parametrize("is_empty", [False, True])
def test_without_its_ledger_no_service_starts_and_none_makes_one(
    folder: Path, children: Processes, *, is_empty: bool
) -> None:
    ledger = folder / "state" / "ledger.db"
    ledger.parent.mkdir()
    if is_empty:
        ledger.touch()
    settings = {
        "MIZZLE_FEDERATION": FEDERATION,
        "MIZZLE_LEDGER": f"sqlite:///{ledger}",
        "REDIS_URL": f"redis://{LOOPBACK}:1/0",
        "MIZZLE_KEYS": str(folder / "state" / "keys"),
        "MIZZLE_PAYLOADS": str(folder / "state" / "payloads"),
    }
    begun = [children.start(name, [sys.executable, "-m", f"services.{name}"], settings) for name in SERVICES]
    assert {child.name: child.wait(SEEN_S) for child in begun} == dict.fromkeys(SERVICES, CONFIGURATION)
    said = {child.last_words for child in begun}
    assert len(said) == 1
    assert "restore the newest copy (docs/operations.md)" in said.pop()
    assert [(path, path.stat().st_size) for path in ledger.parent.iterdir()] == ([(ledger, 0)] if is_empty else [])
