"""Found a federation: its ledger, its keys and its first audit row; and make tokens that devices enrol with."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from mizzle.errors import Misconfigured
from mizzle.grid import has_room
from mizzle.plan import PlugIn, from_toml, refuse_contradictions
from mizzle.registry import plug_in
from mizzle.terms import bound_of, mechanism_of
from mizzle.vocabulary import FULL_WEIGHT
from services.ledger import audit, blobs, enrolments, federations, keys
from services.ledger.accounts import SERVICES
from services.ledger.engine import connect, reading, writing
from services.ledger.ledger import refuse_other_tables
from services.ledger.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sqlalchemy import Engine

    from mizzle.plan import Plan

TOKEN_LIFE_MS: Final = 7 * 24 * 3_600_000

_DEVICE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Founded:
    """A federation in its ledger, as its operator holds it; `public_keys` are by role."""

    federation: str
    public_keys: Mapping[str, bytes]
    engine: Engine = field(repr=False)

    def token(self, device: str, life_ms: int = TOKEN_LIFE_MS) -> str:
        """The line with which `device` may enrol, once, within `life_ms`; a token that it has not used is void.

        Raises:
            Misconfigured: this is no device's name, or a service's, or the device has enrolled.
        """
        if not _DEVICE.fullmatch(device):
            raise Misconfigured(f"a device's name is 1 to 64 of A-Z a-z 0-9 _ -, got {device!r}")
        if device in SERVICES:
            raise Misconfigured(f"{device} is a service's account at the broker: give the device another name")
        secret, now = secrets.token_hex(16), _now()
        with writing(self.engine) as tx:
            if enrolments.device(tx, self.federation, device) is not None:
                raise Misconfigured(
                    f"{device} has enrolled already, with a key that stays: give the new one a new name"
                )
            digest = hashlib.sha256(secret.encode("ascii")).digest()
            enrolments.issue_token(tx, self.federation, device, digest, now + life_ms)
            body = {"expires_at": now + life_ms}
            audit.append(tx, audit.Act(self.federation, now, "operator", "token.issued", device, body))
        return f"mzt1.{self.federation}.{device}.{secret}.{self.public_keys['receipt'].hex()}"


def found(url: str, plan: Plan, model: bytes, folder: Path) -> Founded:
    """A new federation of `plan` in the ledger at `url`, which is made if there is none; its keys lie in `folder`.

    Cut off at any moment, it has founded nothing, or all but the last step, `keys.adopt`, which may be done later.

    Raises:
        Misconfigured: the plan cannot work, the model is another one, or the federation or a key exists.
    """
    _refuse_unworkable(plan, model)
    engine = connect(url, new=True)
    migrate(engine)
    now = _now()
    with writing(engine) as tx:
        if plan.federation in federations.names(tx):
            raise Misconfigured(f"federation {plan.federation!r} is in this ledger already: choose another name")
        made = {role: key.public_key for role, key in keys.draft(folder).items()}
        federations.insert_new(tx, secrets.token_hex(8), plan, made, now)
        blobs.put(tx, model)
        body = {"plan": plan.digest.hex(), "model": plan.model.digest.hex()}
        body |= {f"{role}_key": key.hex() for role, key in made.items()}
        audit.append(tx, audit.Act(plan.federation, now, "operator", "federation.founded", plan.federation, body))
    keys.adopt(folder, made)
    return Founded(plan.federation, made, engine)


def planned(path: Path) -> tuple[Plan, bytes]:
    """The plan in the file `path`, and the model that it names, which lies beside it.

    Raises:
        Misconfigured: a file cannot be read, or the plan is none; the text names the file or the key.
    """
    try:
        text = _read(path).decode()
        named = tomllib.loads(text).get("model")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} is no TOML: {error}") from error
    if not isinstance(named, str) or not named:
        raise Misconfigured(f'{path}: model = "FILE.safetensors" names the model beside the plan, got {named!r}')
    model = _read(path.with_name(named))
    return from_toml(text, model), model


def without_end(plan: Plan) -> Plan:
    """The same plan, of a federation that goes on after the windows it names."""
    return replace(plan, window=replace(plan.window, windows=None))


def open_founded(url: str, federation: str) -> Founded:
    """A federation that was founded earlier.

    Raises:
        Misconfigured: the ledger is not there, of another version, or knows no such federation.
    """
    engine = connect(url)
    refuse_other_tables(engine)
    with reading(engine) as tx:
        federations.find(tx, federation)
        public_keys: dict[str, bytes] = {key.role: key.public_key for key in federations.server_keys(tx, federation)}
    return Founded(federation, public_keys, engine)


def _refuse_unworkable(plan: Plan, model: bytes) -> None:
    refuse_contradictions(plan)
    for folder, wanted in _plug_ins(plan):
        plug_in(folder, wanted)
    digest = hashlib.sha256(model).digest()
    if digest != plan.model.digest:
        raise Misconfigured(f"the plan's model has digest {plan.model.digest.hex()}, this file has {digest.hex()}")
    bound = bound_of(plan)
    if not has_room(plan.window.most, FULL_WEIGHT, bound, mechanism_of(plan).sigma(FULL_WEIGHT, bound)):
        text = f"the sum of a window of {plan.window.most} updates and its noise could pass 2^62"
        raise Misconfigured(f"{text}: lower the plan's window.goal, window.invite or privacy.noise_multiplier")


def _plug_ins(plan: Plan) -> Iterator[tuple[str, PlugIn]]:
    """What the plan names of each kind; a plan that names what is not here would lose what its devices learn."""
    yield "mizzle.codecs", plan.update.codec
    yield "mizzle.mechanisms", plan.privacy.mechanism
    yield "services.selector.policies", plan.select
    yield "services.aggregator.strategies", plan.combine.strategy
    for name in plan.judge.scores:
        yield "services.anomaly_detector.scores", PlugIn(name=name)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from error


def _now() -> int:
    return round(time.time() * 1000)
