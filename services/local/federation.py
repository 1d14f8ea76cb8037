"""A whole federation on one machine: broker, Redis, ledger, keys and every service, in one folder."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import redis
from msgspec.structs import replace
from nacl.public import PrivateKey

from mizzle.plan import from_canonical
from mizzle.topics import Keyspace
from services.ledger.founding import Founded, found
from services.ledger.ledger import Ledger
from services.local.broker import Broker, start_broker
from services.local.processes import Processes
from services.local.store import Kind, open_store
from services.pipeline import FLOW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mizzle.plan import Plan

SERVICES: Final = tuple(place.service for place in FLOW)
ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Federation:
    """A federation that runs, and where its things lie."""

    folder: Path
    processes: Processes
    broker: Broker
    plan: Plan
    founded: Founded
    redis_url: str

    @property
    def broker_url(self) -> str:
        """Where devices and integrators connect to."""
        return f"mqtt://{self.broker.host}:{self.broker.port}"

    @property
    def ledger_file(self) -> Path:
        """The ledger's SQLite file."""
        return self.folder / "ledger.db"

    @property
    def payloads(self) -> Path:
        """The payload store."""
        return self.folder / "payloads"

    @property
    def auditor_key_file(self) -> Path:
        """The private key of the federation's auditor: with it, a release can be rebuilt bit for bit."""
        return self.folder / "auditor.key"

    @property
    def homes(self) -> Path:
        """The folders of the simulated devices, one each."""
        return self.folder / "homes"


@contextmanager
def running(  # noqa: PLR0913  # what may differ is told by name
    folder: Path,
    plan: Plan,
    model: bytes,
    *,
    keep_payloads: bool,
    store: Kind | None = None,
    metrics: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Federation]:
    """A federation of `plan` in `folder`, all its services running; on leaving, every process is ended.

    In a Redis that was there before, nothing of it stays either. `metrics` says at which HOST:PORT a service shows its
    figures; one that is not named shows none. `store` says which Redis is started, else it is the best there is.
    """
    ledger = f"sqlite:///{folder / 'ledger.db'}"
    with ExitStack() as after:
        if given := os.environ.get("REDIS_URL"):
            after.callback(_forget, given, ledger, plan.federation)
        processes = after.enter_context(Processes(folder))
        broker = start_broker(processes, keep=True)
        redis_url = open_store(processes, kind=store, keep=True)
        founded = found(ledger, plan, model, folder / "keys")
        federation = Federation(folder, processes, broker, plan, founded, redis_url)
        settings = {
            "MIZZLE_KEEP_PAYLOADS": str(keep_payloads),
            "MIZZLE_AUDITOR_KEY": _auditor(federation.auditor_key_file) if keep_payloads else "",
        }
        start_services(
            federation, {service: settings | {"MIZZLE_METRICS": metrics.get(service, "")} for service in SERVICES}
        )
        yield federation


def start_services(federation: Federation, own: Mapping[str, Mapping[str, str]]) -> None:
    """Start every service of a federation, and again whenever it ends; `own` settings of a service come last."""
    settings = {
        "MIZZLE_FEDERATION": federation.plan.federation,
        "MIZZLE_LEDGER": f"sqlite:///{federation.ledger_file}",
        "REDIS_URL": federation.redis_url,
        "MIZZLE_BROKER": federation.broker_url,
        "MIZZLE_KEYS": str(federation.folder / "keys"),
        "MIZZLE_PAYLOADS": str(federation.payloads),
        "OPENBLAS_NUM_THREADS": "1",  # a second thread costs more than it gives on vectors of this size
    }
    for service in SERVICES:
        argv = [sys.executable, "-m", f"services.{service}"]
        federation.processes.start(service, argv, settings | dict(own.get(service, {})), keep=True)


def _forget(redis_url: str, ledger: str, federation: str) -> None:
    """Remove the keys of this ledger's federation from a Redis that is not ours."""
    if not Path(ledger.removeprefix("sqlite:///")).exists():
        return
    keys = Keyspace(Ledger.open(ledger, federation).name, federation)
    with suppress(redis.RedisError), redis.Redis.from_url(redis_url) as client:  # one that is gone keeps nothing
        if found_keys := list(client.scan_iter(f"{keys.prefix}*")):
            client.delete(*found_keys)


def with_budget(plan: Plan, budget: float) -> Plan:
    """The same plan with both of its budgets at `budget`.

    Raises:
        Misconfigured: that is no budget.
    """
    privacy = replace(plan.privacy, device_budget=budget, federation_budget=budget)
    return from_canonical(replace(plan, privacy=privacy).canonical)


def _auditor(path: Path) -> str:
    key = PrivateKey.generate()
    path.touch(mode=0o600)
    path.write_text(bytes(key).hex())
    return bytes(key.public_key).hex()
