"""What services stand on, really: a federation founded in a SQLite ledger, its keys, its services' environment."""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from sqlalchemy import insert

from mizzle.codec import decode_between_services, encode
from mizzle.manifest import Manifest, ModelFile, Privacy, moment, sign
from mizzle.messages import BlobRef, Message, ModelRef, Release, Window
from mizzle.model import filled
from mizzle.plan import Plan
from mizzle.topics import Keyspace
from services.ledger import blobs, enrolments
from services.ledger.engine import writing
from services.ledger.founding import Founded, found
from services.ledger.keys import read
from services.ledger.ledger import Ledger
from services.ledger.tables import RELEASES, WINDOWS
from services.pipeline import hop
from services.runtime.redis_log import Entry, Output, RedisLog, connected
from tests.mizzle.device.federation import MODEL, Federation

PATIENCE_S = 12.0
NOWHERE = "mqtt://127.0.0.1:1"


@dataclass(frozen=True)
class Grounds:
    """A federation in `folder`, and its Redis."""

    folder: Path
    plan: Plan
    model: bytes
    founded: Founded = field(repr=False)
    ledger: Ledger = field(repr=False)
    redis_url: str
    broker_url: str

    @property
    def environ(self) -> Mapping[str, str]:
        """What its services are told."""
        return {
            "MIZZLE_FEDERATION": self.plan.federation,
            "MIZZLE_LEDGER": f"sqlite:///{self.folder / 'ledger.db'}",
            "REDIS_URL": self.redis_url,
            "MIZZLE_BROKER": self.broker_url,
            "MIZZLE_KEYS": str(self.folder / "keys"),
            "MIZZLE_PAYLOADS": str(self.folder / "payloads"),
        }

    @property
    def space(self) -> Keyspace:
        """Its part of Redis."""
        return Keyspace(self.ledger.name, self.plan.federation)

    def log(self, service: str) -> RedisLog:
        """A service's log."""
        return RedisLog(connected(self.redis_url), self.space, hop(service))

    def say(self, stream: str, *messages: Message) -> None:
        """Write messages on a stream, as whoever says them."""
        self.log("gateway").append([Output(stream, encode(message)) for message in messages])


class Ear:
    """Reads a stream as its reader `service` would, and commits nothing."""

    def __init__(self, grounds: Grounds, service: str) -> None:
        self._log = grounds.log(service)
        self._cursors = dict.fromkeys(hop(service).reads, "0-0")
        self._heard: list[Entry] = []

    def next(self) -> Message:
        """The next message on any of the streams; TimeoutError if none comes."""
        until = time.monotonic() + PATIENCE_S
        while not self._heard:
            if time.monotonic() > until:
                raise TimeoutError(f"nothing came on {self._cursors}")
            self._heard = self._log.read(self._cursors, 100, 1000)
            self._cursors |= {entry.stream: entry.id for entry in self._heard}
        return decode_between_services(self._heard.pop(0).body)

    def waiting(self) -> list[Message]:
        """What else has come by now."""
        found = [*self._heard, *self._log.read(self._cursors, 1000, 1)]
        self._cursors |= {entry.stream: entry.id for entry in found}
        self._heard = []
        return [decode_between_services(entry.body) for entry in found]


def founded(folder: Path, name: str, redis_url: str, broker_url: str = NOWHERE, model: bytes = MODEL) -> Grounds:
    """A federation of that name, founded in `folder`."""
    barn = Federation(name, model=model)
    url = f"sqlite:///{folder / 'ledger.db'}"
    made = found(url, barn.plan, barn.model, folder / "keys")
    return Grounds(folder, barn.plan, barn.model, made, Ledger.open(url, name), redis_url, broker_url)


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module."""
    return sys.executable, "-m", module, *arguments


def surroundings(grounds: Grounds) -> dict[str, str]:
    """Our environment and that of the federation's services."""
    return {**os.environ, **grounds.environ}


def enrol(grounds: Grounds, device: str, public_key: bytes) -> None:
    """Let a device belong, as the accountant does."""
    with writing(grounds.ledger.engine) as tx:
        enrolments.enrol(tx, grounds.plan.federation, device, enrolments.Device(public_key, b"sealed"), 0)


def release(grounds: Grounds, version: int) -> Release:
    """Release a model, as the accountant does: the plan's own with other numbers, under a signed manifest."""
    federation, model = grounds.plan.federation, model_of(grounds, version)
    key = read(grounds.folder / "keys", "release")
    manifest = sign(
        Manifest(
            schema=1,
            federation=federation,
            version=version,
            window=version,
            members=2,
            model=ModelFile(digest=sha256(model).hexdigest(), size=len(model), format="safetensors"),
            plan=grounds.plan.digest.hex(),
            previous=_previous(grounds),
            issued=moment(round(time.time() * 1000)),
            expires=moment(2**45),
            privacy=Privacy(epsilon=1.0, delta=1e-5, sentence="Of one device."),
        ),
        key.sign,
        key.public_key,
    )
    made = Release(
        version=version,
        window=version,
        manifest=manifest,
        manifest_digest=sha256(manifest).digest(),
        model=BlobRef(digest=sha256(model).digest(), size=len(model)),
    )
    _remember(grounds, made, model)
    return made


def model_of(grounds: Grounds, version: int) -> bytes:
    """The model that `release` releases as this version."""
    return filled(grounds.model, np.full(grounds.plan.model.parameters, float(version)))


def _previous(grounds: Grounds) -> str | None:
    last = grounds.ledger.releases(1)
    return last[0].manifest_digest.hex() if last else None


def _window(made: Release) -> Window:
    return Window(
        number=made.window,
        base=ModelRef(version=made.version - 1, digest=bytes(32), size=1),
        cohort=(),
        goal=1,
        quorum=1,
        most=1,
        deadline=0,
        seed=bytes(32),
        bound=1,
        weight_cap=64,
    )


def _remember(grounds: Grounds, made: Release, model: bytes) -> None:
    federation, nothing = grounds.plan.federation, bytes(32)
    window = {"number": made.window, "state": "released", "body": encode(_window(made)), "base_version": 0}
    times = {"opened_at": 0, "deadline": 0, "ended_at": 0, "version": made.version}
    row = {
        "version": made.version,
        "window": made.window,
        "manifest": made.manifest,
        "manifest_digest": made.manifest_digest,
        "base_digest": nothing,
        "model_digest": made.model.digest,
        "model_size": made.model.size,
        "total_digest": nothing,
        "optimizer_size": 0,
        "noise_key": b"",
        "sigma": 1,
        "members": 2,
        "arrived": 2,
        "released_at": 0,
    }
    with writing(grounds.ledger.engine) as tx:
        blobs.put(tx, model)
        tx.execute(insert(WINDOWS).values(federation=federation, **window, **times))
        tx.execute(insert(RELEASES).values(federation=federation, **row))
