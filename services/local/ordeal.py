"""A federation that is hurt, healed, drained and judged: real servers, real services, real devices, and a witness.

    with ordeal(folder, Terms(devices=24)) as there:
        there.processes["aggregator"].kill()            # or whatever else; `there.ways` lead through fault proxies
        there.heal()
        there.clean_window(within_s=10)                 # one that was opened since then is released
        there.drain(within_s=60)                        # every outbox is empty, every update has ended
        judgement = there.verdict()

Every process is started again when it ends, as a supervisor would, and every way between two of them leads through a
fault proxy: `ways["fleet-0"]` from the devices of that process to the broker, `ways["gateway"]` from the gateway to it,
and `ways["aggregator-redis"]` and the like from each service to Redis. To be used from the main thread.
"""

from __future__ import annotations

import signal
import sqlite3
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import numpy as np
from safetensors.numpy import save

from mizzle.errors import Away
from mizzle.plan import from_toml
from services.ledger.founding import found
from services.local.broker import start_broker
from services.local.changes import Changes
from services.local.faults import FaultProxy, Mode
from services.local.federation import SERVICES, Federation, start_services
from services.local.fleet import Fleet, Wrist
from services.local.fleets import start_fleet
from services.local.judgement import Judgement, judged
from services.local.processes import Processes
from services.local.sight import Sight, stored, waiting
from services.local.store import Aof, start_store
from services.local.store import Kind as StoreKind
from services.local.waiting import LOOPBACK
from services.local.wire import Weather
from services.local.witness import NAME, Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from mizzle.plan import Plan
    from services.local.broker import Kind as BrokerKind
    from services.local.child import Child

LOOK_AGAIN_S: Final = 0.3
"""Nothing is waited for longer than this without another look: what was written may be seen a moment later."""

REST: Final = "MIZZLE_NOVICE_REST"
"""The setting by which a device knows the file that lets it rest."""

PLAN: Final = """
schema = 1
federation = "chaos"
model = "novice.safetensors"
[train]
[window]
mode = "rounds"
goal = {goal}
quorum = {quorum}
invite = 1.5
deadline_s = 1.5
pause_s = 0.05
late = "fold"
max_staleness = 4
[select]
policy = "uniform"
[update]
codec = "hadamard"
bits = 4
[judge]
scores = ["norm", "history"]
[combine]
strategy = "fedavg"
[privacy]
mechanism = "gaussian"
noise_multiplier = 0.2
device_budget = 1e9
federation_budget = 1e9
minimum_crowd = {quorum}
"""


@dataclass(frozen=True)
class Terms:
    """How large a federation, and on which servers: the best there are, unless it is said which."""

    devices: int = 24
    fleets: int = 2
    aof: Aof = "everysec"
    store: StoreKind | None = None
    broker: BrokerKind | None = None
    script: str = "services.local.novice"
    plan: str = PLAN

    @property
    def planned(self) -> tuple[Plan, bytes]:
        """A plan by which many windows open and close, and a model of some hundred parameters."""
        goal = max(2, self.devices // 2)
        model = save({"w": np.zeros(300, np.float32)})
        return from_toml(self.plan.format(goal=goal, quorum=max(2, goal // 2)), model), model


@dataclass
class Ordeal:
    """A federation at work, and how far it has come; `ended` are the processes that did while something was awaited."""

    federation: Federation
    terms: Terms
    ways: Mapping[str, FaultProxy]
    witness: Witness
    sight: Sight
    changes: Changes
    ended: list[Child] = field(default_factory=list)

    @property
    def processes(self) -> Processes:
        """All of it: `store`, `broker`, every service and every fleet by name."""
        return self.federation.processes

    @property
    def fleets(self) -> tuple[str, ...]:
        """The processes that hold the devices."""
        return fleet_names(self.terms)

    @property
    def trace(self) -> Path:
        """What the witness wrote."""
        return self.federation.folder / "trace.jsonl"

    @property
    def store_folder(self) -> Path:
        """Where Redis keeps its files, if any."""
        return self.federation.folder / "store"

    @property
    def store_port(self) -> int:
        """Where Redis listens."""
        return urlsplit(self.federation.redis_url).port or 0

    @property
    def rest(self) -> Path:
        """Once it is there, devices train no more."""
        return self.federation.folder / "rest"

    def wait_until(self, is_so: Callable[[], bool], within_s: float, what: str) -> float:
        """How many seconds it took until it was so; processes are looked after meanwhile.

        Raises:
            Away: it was not so within `within_s`; the text names `what`.
        """
        began = time.monotonic()
        while not is_so():
            if (left := within_s - (time.monotonic() - began)) <= 0:
                raise Away(f"{what} was wanted within {within_s:g} s and is not so: {self.standing()}")
            self.ended += self.processes.tend(min(left, LOOK_AGAIN_S), self.changes.news)
            self.changes.forget()
        return time.monotonic() - began

    def tend(self, seconds: float) -> tuple[Child, ...]:
        """Look after the processes for so long; which have ended meanwhile."""
        return tuple(self.endings(seconds))

    def endings(self, seconds: float) -> Iterator[Child]:
        """Look after the processes for so long, and give each that has ended as soon as it has."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            yield from self.processes.tend(left)

    def restart(self, name: str, once: Mapping[str, str]) -> Child:
        """Kill a process, if it runs, and start it again at once; `once` is added to its environment for this life."""
        child = self.processes[name]
        child.kill()
        child.wait(5.0)
        return self.processes.restart(name, once)

    def heal(self) -> None:
        """Let every process run and every byte pass. What has ended is started again by whoever looks after it."""
        for way in self.ways:
            self.mend(way)
        for name in (*SERVICES, *self.fleets, "broker", "store"):
            self.processes[name].kill(signal.SIGCONT)

    def mend(self, way: str) -> None:
        """Let every byte pass on this way again."""
        self.ways[way].befall(Weather())
        self.ways[way].switch(Mode.PASS_ON)

    def runs(self, name: str) -> bool:
        """Whether there is a process of this name that has not ended."""
        return name in self.processes and self.processes[name].returncode is None

    def first_window(self, within_s: float = 60.0) -> float:
        """The seconds until a window is released."""
        return self.wait_until(lambda: self.sight.has_released_after(0), within_s, "a first release")

    def clean_window(self, within_s: float) -> float:
        """The seconds until a window is released that was opened from now on.

        Raises:
            Away: there was none within `within_s`.
        """
        newest, _ = self.sight.newest()
        return self.wait_until(lambda: self.sight.has_released_after(newest), within_s, "a clean window")

    def drain(self, within_s: float = 90.0) -> float:
        """Let the devices train no more, and return the seconds until every update has ended and nothing waits for any.

        Then every outbox is empty, and so is the payload store: what nobody lets go of would fill it one day.

        Windows go on opening meanwhile, because late updates wait for the next one. It is awaited that one ends which
        was opened when all devices rested.

        Raises:
            Away: some updates still waited after `within_s`.
        """
        self.rest.touch()
        newest, _ = self.sight.newest()

        def is_drained() -> bool:
            window, state = self.sight.newest()
            is_later = window - (state == "open") > newest + 1
            return is_later and not waiting(self.federation.homes) and not self.sight.open_updates()

        took_s = self.wait_until(is_drained, within_s, "empty outboxes")
        return took_s + self.wait_until(self._holds_nothing, within_s - took_s, "an empty payload store")

    def _holds_nothing(self) -> bool:
        return not stored(self.federation.payloads)

    def copy_ledger(self, path: Path) -> Path:
        """The ledger as it is at this instant, in a file of its own."""
        address = f"{self.federation.ledger_file.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as here, closing(sqlite3.connect(path)) as copy:
            here.backup(copy)
        return path

    def verdict(self, earlier: Path | None = None) -> Judgement:
        """End everything, and hear what the judge says of all that is left.

        Raises:
            Misconfigured: this checkout has no judge.
        """
        self.sight.close()
        self.processes.stop_all()
        self.witness.written()
        folder = self.federation.folder
        homes, report = folder / "homes", folder / "judgement.json"
        return judged(self.federation.ledger_file, homes, report, trace=self.trace, earlier=earlier)

    def standing(self) -> str:
        """Where it stands, in a sentence for people."""
        window, state = self.sight.newest()
        down = [name for name in (*SERVICES, *self.fleets, "broker", "store") if self.processes[name].returncode]
        open_ones = self.sight.open_updates()
        waits = waiting(self.federation.homes)
        return f"window {window} is {state}, {waits} updates wait, {open_ones} are open, down: {down or 'nothing'}"


def fleet_names(terms: Terms) -> tuple[str, ...]:
    """The names of the processes that hold the devices."""
    return tuple(f"fleet-{number}" for number in range(terms.fleets))


def way_names(terms: Terms) -> tuple[str, ...]:
    """The names of the ways that lead through a fault proxy."""
    return (*fleet_names(terms), "gateway", *(f"{service}-redis" for service in SERVICES))


@contextmanager
def ordeal(folder: Path, terms: Terms) -> Iterator[Ordeal]:
    """A federation on these terms in `folder`, running; on leaving, every process is ended."""
    plan, model = terms.planned
    with ExitStack() as after:
        processes = after.enter_context(Processes(folder))
        broker = start_broker(processes, terms.broker, keep=True, witness=NAME)
        redis_url = start_store(processes, terms.aof, terms.store, keep=True)
        founded = found(f"sqlite:///{folder / 'ledger.db'}", plan, model, folder / "keys")
        federation = Federation(folder, processes, broker, plan, founded, redis_url)
        ports = dict.fromkeys((*fleet_names(terms), "gateway"), broker.port)
        store_port = urlsplit(redis_url).port or 0
        ways = {name: after.enter_context(FaultProxy(ports.get(name, store_port))) for name in way_names(terms)}
        witness = after.enter_context(Witness(federation.broker_url, plan.federation, folder / "trace.jsonl"))
        start_services(federation, {service: _settings(service, ways) for service in SERVICES})
        homes = _start_devices(federation, terms, ways)
        changes = after.enter_context(Changes([folder, *homes]))
        sight = Sight(federation.ledger_file, plan.federation)
        after.callback(sight.close)
        after.callback(processes.stop_all)
        yield Ordeal(federation, terms, ways, witness, sight, changes)


def _settings(service: str, ways: Mapping[str, FaultProxy]) -> dict[str, str]:
    """Where a service finds the servers: through its own proxies."""
    return {
        "REDIS_URL": f"redis://{LOOPBACK}:{ways[f'{service}-redis'].port}/0",
        "MIZZLE_BROKER": f"mqtt://{LOOPBACK}:{ways['gateway'].port}",
    }


def _start_devices(federation: Federation, terms: Terms, ways: Mapping[str, FaultProxy]) -> list[Path]:
    """Start the devices, dealt to the fleets in turn; where their homes are."""
    names = [f"novice-{number}" for number in range(1, terms.devices + 1)]
    homes = {name: federation.homes / name for name in names}
    for home in homes.values():
        home.mkdir(mode=0o700, parents=True)
    for number, fleet in enumerate(fleet_names(terms)):
        wrists = tuple(
            Wrist(
                name=name,
                script=terms.script,
                environment={
                    "MIZZLE_BROKER": f"mqtt://{LOOPBACK}:{ways[fleet].port}",
                    "MIZZLE_HOME": str(homes[name]),
                    "MIZZLE_TOKEN": federation.founded.token(name),
                    REST: str(federation.folder / "rest"),
                },
            )
            for name in names[number :: terms.fleets]
        )
        start_fleet(federation.processes, fleet, Fleet(federation.broker.port, 0, wrists), keep=True)
    return list(homes.values())
