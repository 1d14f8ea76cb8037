"""A replica of Redis that lagged takes the master's place: as if Redis had gone back in time, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mizzle.topics import Keyspace
from services.ledger.ledger import Ledger
from services.local.faults import FaultProxy, Mode
from services.local.federation import SERVICES
from services.local.ordeal import Ordeal, Terms
from services.local.store import start_store, stores
from services.local.waiting import LOOPBACK
from services.runtime.redis_log import connected
from tests.chaos.looked import SEEN_S, log
from tests.chaos.test_twins import CLEAN_S, gone_through
from tests.servers import missing

if TYPE_CHECKING:
    from pathlib import Path

KIND: Final = "redis-server"
LAGS_S: Final = 2.0


def test_a_replica_that_lagged_is_promoted_and_no_update_or_charge_is_lost(folder: Path) -> None:
    if KIND not in stores():
        missing(KIND)
    with gone_through(folder, Terms(devices=8, fleets=1, store=KIND)) as (there, judgements):
        with FaultProxy(there.store_port) as way:
            replica = replicating(there, way)
            way.switch(Mode.HOLD_ANSWERS)  # what the master says from here on it never hears
            there.tend(LAGS_S)
            there.clean_window(CLEAN_S)
            lag = version(there, there.federation.redis_url) - version(there, replica)
            take_over(there, replica)
            way.switch(Mode.CUT)
        there.clean_window(CLEAN_S)
        assert lag > 0
        for service in SERVICES:
            assert f"Redis does not serve {service}: " in log(there, service)
    assert judgements[0].findings == ()


def replicating(there: Ordeal, way: FaultProxy) -> str:
    """The URL of a second Redis that has heard all that the first one has."""
    with connected(there.federation.redis_url) as master:
        master.config_set("repl-diskless-sync-delay", "0")
    url = start_store(there.processes, "everysec", KIND, name="replica")
    with connected(url) as client:
        client.replicaof(LOOPBACK, str(way.port))
        there.wait_until(lambda: is_in_step(client), SEEN_S, "a replica that is in step")
    return url


def is_in_step(client: Any) -> bool:  # redis-py's own types
    return bool(client.info("replication")["master_link_status"] == "up")


def version(there: Ordeal, url: str) -> int:
    """How often the accountant has committed, as this Redis knows it."""
    federation = there.federation.plan.federation
    space = Keyspace(Ledger.open(f"sqlite:///{there.federation.ledger_file}", federation).name, federation)
    with connected(url) as client:
        known: Any = client.hget(space.place("privacy_accountant"), "version")
    return int(known)


def take_over(there: Ordeal, replica: str) -> None:
    """The master dies for good, and the replica, promoted, answers at its address."""
    there.processes.give_up("store")
    with connected(replica) as client:
        client.replicaof("NO", "ONE")
        client.config_set("port", there.store_port)
