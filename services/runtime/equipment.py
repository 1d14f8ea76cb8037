"""Everything a service stands on, made from its settings: plan, keys, ledger, log and payload store."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from nacl.public import PublicKey, SealedBox
from prometheus_client import CollectorRegistry

from mizzle.errors import Misconfigured
from mizzle.moves import Ground
from mizzle.topics import Keyspace
from mizzle.transport.passwords import read as read_password
from services.ledger.keys import read
from services.ledger.ledger import Ledger
from services.ledger.past import DAY_MS
from services.runtime.metrics import LoopFigures, Meters
from services.runtime.payloads import Spool
from services.runtime.redis_log import RedisLog, connected
from services.runtime.service import Stores

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import redis

    from mizzle.envelope import Signer
    from services.pipeline import Hop
    from services.runtime.settings import Places, Settings


@dataclass(frozen=True)
class Equipment:
    """What a service stands on; `meters` count what it does, and what is in `registry` is shown to Prometheus."""

    settings: Settings
    ground: Ground
    stores: Stores
    ledger: Ledger
    meters: Meters = field(default_factory=Meters)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)


def equip(hop: Hop, settings: Settings) -> Equipment:
    """What the service at `hop` stands on; Redis is not asked for anything yet.

    Raises:
        Misconfigured: a key or a setting is wrong, or the ledger or the key not of this federation.
        Away: the ledger does not answer.
    """
    ledger = Ledger.open(settings.ledger, settings.federation, settings.retention_days * DAY_MS)
    ground = Ground(
        plan=ledger.plan(),
        model=ledger.model(),
        signer=_signer(settings.keys, hop, ledger),
        seal_for_auditor=_sealing(settings.auditor_key),
        epoch=ledger.epoch,
    )
    stores = Stores(
        log=log_of(hop, settings, ledger),
        spool=Spool(settings.payloads, settings.payload_bytes, keep=settings.keep_payloads),
        issue_epoch=partial(ledger.issue_epoch, hop.service),
        facts=ledger.facts,
        blob=ledger.blob,
        is_older_than=partial(ledger.is_older_than, hop.service),
        has_open_window=ledger.has_open_window,
        is_another=ledger.is_another,
    )
    equipment = Equipment(settings, ground, stores, ledger)
    own = log_of(hop, settings, ledger)  # the loop's line is the loop's: whoever looks never makes it wait
    equipment.registry.register(LoopFigures(settings.federation, hop.service, equipment.meters, own))
    return equipment


def log_of(hop: Hop, places: Places, ledger: Ledger) -> RedisLog:
    """The hop's log in this ledger's part of Redis."""
    return RedisLog(redis_of(places), Keyspace(ledger.name, places.federation), hop)


def redis_of(places: Places) -> redis.Redis:
    """A client of the Redis that is named there, which says the password if there is one.

    Raises:
        Misconfigured: the address is none, or the password cannot be read.
    """
    file = places.redis_password_file
    password = read_password(file, "MIZZLE_REDIS_PASSWORD_FILE") if file else None
    return connected(places.redis_url, password)


class Unsigned:
    """The signer of a service that signs nothing."""

    @property
    def public_key(self) -> bytes:
        """There is none."""
        raise Misconfigured("this service has no key; if it is to sign, services/pipeline.py must say by which")

    def sign(self, message: bytes) -> bytes:
        """There is no signature of `message`."""
        raise Misconfigured(
            f"{len(message)} bytes were to be signed by a service without a key; see services/pipeline.py"
        )


def _signer(folder: Path, hop: Hop, ledger: Ledger) -> Signer:
    if hop.signs is None:
        return Unsigned()
    key = read(folder, hop.signs)
    if key.public_key != ledger.server_key(hop.signs):
        text = f"the {hop.signs} key in {folder} is not the federation's, so nobody would believe what it signs"
        raise Misconfigured(f"{text}: put the old one back (with compose: docker compose run --rm setup)")
    return key


def _sealing(auditor_key: str) -> Callable[[bytes], bytes]:
    if not auditor_key:
        return lambda _: b""
    return SealedBox(PublicKey(bytes.fromhex(auditor_key))).encrypt
