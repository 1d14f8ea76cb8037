"""A federation of N devices in which device i sends 1 in its own coordinate: its plan, model, keys and ledger, by seed.

The model has one parameter per device, padded to one block of the grid, so that a 1 is coded without any rounding and
stands in a sum as exactly `one` per unit of weight. Noise is drawn as in any federation; its keys lie open in the
ledger (the auditor's seal is none), so the oracle takes it off again.
"""

import hashlib
import math
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
from safetensors.numpy import save
from sqlalchemy import Engine, event

from mizzle.device.enrol import Token
from mizzle.device.events import Trained
from mizzle.envelope import Key
from mizzle.grid import GAIN
from mizzle.messages import Invitation
from mizzle.moves import Ground
from mizzle.payload import written
from mizzle.plan import Plan, from_toml
from mizzle.terms import bound_of, grid_of
from services.ledger import audit, blobs, enrolments, federations
from services.ledger.engine import connect, writing
from services.ledger.keys import ROLES
from services.ledger.ledger import Ledger
from services.ledger.migrate import migrate
from services.pipeline import Hop

NAME = "rain"
BEGINNING = 1_800_000_000_000
TOKENS_LAST_MS = 365 * 24 * 3_600_000
_SIDES = (64, 256, 1024, 4096)

_TOML = """
schema = 1
federation = "{name}"
model = "one-hot.safetensors"
[train]
[window]
mode = "rounds"
goal = {goal}
quorum = {quorum}
invite = {invite}
deadline_s = {deadline_s}
pause_s = {pause_s}
late = "{late}"
max_staleness = {staleness}
[select]
policy = "uniform"
[update]
codec = "hadamard"
bits = 8
[combine]
strategy = "fedavg"
[privacy]
mechanism = "gaussian"
noise_multiplier = 2.0
device_budget = {budget}
federation_budget = {budget}
minimum_crowd = 2
"""


@dataclass(frozen=True)
class Wish:
    """What a simulated federation is to be like; windows and pauses in seconds."""

    devices: int = 12
    goal: int = 4
    quorum: int = 2
    invite: float = 1.5
    deadline_s: float = 120.0
    pause_s: float = 60.0
    late: str = "fold"
    staleness: int = 4
    budget: float = 1e6

    @property
    def side(self) -> int:
        """How many parameters the model has."""
        return next(side for side in _SIDES if side >= self.devices)


@dataclass(frozen=True)
class Founding:
    """A federation that is founded in `folder`, and everything that was drawn for it."""

    wish: Wish
    plan: Plan
    model: bytes
    ledger: Ledger
    folder: Path
    keys: dict[str, Key] = field(repr=False)
    device_keys: dict[str, Key] = field(repr=False)
    tokens: dict[str, Token] = field(repr=False)

    def ground(self, hop: Hop) -> Ground:
        """What the service at `hop` is given for life."""
        return Ground(self.plan, self.model, self.keys[hop.signs or "nobody"], bytes)

    @property
    def ones(self) -> int:
        """What a 1 of weight one adds to its coordinate of an opened sum."""
        return GAIN * _hot(self.plan)

    def coordinate(self, device: str) -> int:
        """The coordinate that is the device's own."""
        return int(device.removeprefix("drop-"))

    def trained(self, device: str, invitation: Invitation, draw: Random) -> Trained:
        """What the device learned in this window: a 1 in its own place."""
        grid = grid_of(self.plan)
        change = np.zeros(grid.size)
        change[self.coordinate(device)] = _hot(self.plan) * grid.unit
        payload = written(change, self.plan, invitation.seed, invitation.bound, draw.randbytes)
        return Trained(invitation.window, payload)


def founded(wish: Wish, folder: Path, seed: str) -> Founding:
    """A new federation in `folder`; the same wish and seed give the same bytes."""
    chance = Random(f"{seed}/founding")
    model = save({"one": np.zeros(wish.side, np.float32)})
    plan = from_toml(
        _TOML.format(
            name=NAME,
            goal=wish.goal,
            quorum=wish.quorum,
            invite=wish.invite,
            deadline_s=wish.deadline_s,
            pause_s=wish.pause_s,
            late=wish.late,
            staleness=wish.staleness,
            budget=wish.budget,
        ),
        model,
    )
    keys = {role: Key(chance.randbytes(32)) for role in (*ROLES, "nobody")}
    devices = [f"drop-{number}" for number in range(wish.devices)]
    device_keys = {device: Key(chance.randbytes(32)) for device in devices}
    receipt_key = keys["receipt"].public_key
    tokens = {device: Token(NAME, device, chance.randbytes(16).hex(), receipt_key) for device in devices}
    file = folder / "ledger.db"
    file.write_bytes(_empty_ledger())
    engine = connect(f"sqlite:///{file}")
    with writing(engine) as tx:
        public = {role: keys[role].public_key for role in ROLES}
        federations.insert_new(tx, chance.randbytes(8).hex(), plan, public, BEGINNING)
        blobs.put(tx, model)
        said = {"plan": plan.digest.hex(), "model": plan.model.digest.hex()}
        said |= {f"{role}_key": key.hex() for role, key in public.items()}
        audit.append(tx, audit.Act(NAME, BEGINNING, "operator", "federation.founded", NAME, said))
        for device, token in tokens.items():
            secret = hashlib.sha256(token.secret.encode("ascii")).digest()
            enrolments.issue_token(tx, NAME, device, secret, BEGINNING + TOKENS_LAST_MS)
    engine.dispose()
    ledger = Ledger.open(f"sqlite:///{file}", NAME)
    hurry(ledger.engine)
    return Founding(wish, plan, model, ledger, folder, keys, device_keys, tokens)


def hurry(engine: Engine) -> None:
    """Let SQLite not wait for the disk: here nobody pulls the plug of the machine that simulates."""
    engine.dispose()
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))


def _hot(plan: Plan) -> int:
    """The largest 1 that the clip allows and that needs no rounding: √B levels of ±top, times a whole multiplier."""
    length = math.isqrt(plan.model.parameters) * grid_of(plan).top
    return bound_of(plan) // length * length


@cache
def _empty_ledger() -> bytes:
    """A ledger's file with its tables and nothing in them; the migrations are run once."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.db"
        engine = connect(f"sqlite:///{file}", new=True)
        migrate(engine)
        engine.dispose()  # the last one who closes it leaves all of it in the one file
        return file.read_bytes()
