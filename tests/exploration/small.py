"""The smallest federation in which all of it can happen: two devices, one window, one-hot updates of four parameters.

Its keys are the same every time, so that every exploration is the same. Device i sends its whole clip in its own
coordinate, so that a sum tells who is in it, and how often.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from safetensors.numpy import save

from mizzle import parts, topics
from mizzle.device import session
from mizzle.device.effects import Clear
from mizzle.device.states import Me, Session, Waiting
from mizzle.envelope import Key, Purpose, seal, unseal
from mizzle.messages import BlobRef, Identity, Opening, ServerKey, Update
from mizzle.moves import Ground
from mizzle.payload import written
from mizzle.plan import Plan, from_toml
from mizzle.terms import bound_of
from mizzle.topics import Up
from mizzle.transport.bus import Arrived, Connected
from services.gateway import receive
from services.gateway.receive import Came, Taken

DEVICES = ("pump-1", "pump-2")
START = 1_800_000_000_000
LASTS_MS = 6_000
PHASE_MS = 10_000
"""So far the clock goes when time passes: a window's deadline is always behind it."""

MODEL = save({"w": np.zeros(4, np.float32)})
SEED = bytes([1]) * 32
ROLES = {role: Key(hashlib.sha256(role.encode()).digest()) for role in ("receipt", "invitation", "release")}

TOML = """
schema = 1
federation = "pumps"
model = "w.safetensors"
[train]
[window]
mode = "rounds"
goal = 2
quorum = {quorum}
invite = 1.0
deadline_s = 6.0
late = "{late}"
windows = 1
[select]
policy = "uniform"
[update]
codec = "topk"
share = 0.25
[combine]
strategy = "fedavg"
[privacy]
mechanism = "gaussian"
noise_multiplier = 2.0
device_budget = 1000000.0
federation_budget = 1000000.0
minimum_crowd = 1
"""


@dataclass(frozen=True)
class Device:
    """A device that has trained: its update is sealed, and lies in its outbox until a receipt for it comes."""

    name: str
    key: Key
    plan: Plan

    @cached_property
    def payload(self) -> bytes:
        """The whole clip in its own coordinate."""
        change = np.zeros(4)
        change[DEVICES.index(self.name)] = self.plan.update.clip / 2
        return written(change, self.plan, SEED, bound_of(self.plan), bytes)

    @cached_property
    def sealed(self) -> bytes:
        """The signed header of its update."""
        update = Update(
            federation=self.plan.federation,
            device=self.name,
            window=1,
            base=self.plan.model.digest,
            plan=self.plan.digest,
            nonce=bytes(16),
            payload=BlobRef(digest=hashlib.sha256(self.payload).digest(), size=len(self.payload)),
        )
        return seal(update, Purpose.UPDATE, self.key, epoch=0, counter=1)

    @cached_property
    def update(self) -> bytes:
        """The id of its update."""
        return unseal(self.sealed).id

    @cached_property
    def taken(self) -> Taken:
        """What the gateway's rules make of what it publishes."""
        (part,) = parts.split(self.sealed, self.payload)
        topic = topics.up(self.plan.federation, self.name, Up.UPDATE)
        return receive.receive(receive.begin(self.plan), Came(topic, part, self.key.public_key, START))

    @cached_property
    def session(self) -> Session:
        """Its side of the conversation, with its update waiting and its line up."""
        keys = tuple(ServerKey(role=role, public_key=key.public_key) for role, key in ROLES.items())  # type: ignore[arg-type]  # the roles are those
        plan = BlobRef(digest=self.plan.digest, size=1)
        identity = Identity(
            federation=self.plan.federation,
            device=self.name,
            public_key=self.key.public_key,
            keys=keys,
            plan=plan,
            epoch=0,
        )
        waiting = (Waiting(self.update, len(self.payload)),)
        begun, _ = session.begin(Me(self.plan.federation, self.name, self.key), identity, 2, waiting=waiting)
        return session.step(begun, Connected(session_present=True))[0]

    def clears(self, sealed: bytes) -> bool:
        """Whether it lets go of its update when this receipt comes."""
        arrived = Arrived(topics.to(self.plan.federation, self.name, "receipt"), sealed)
        return any(isinstance(effect, Clear) for effect in session.step(self.session, arrived)[1])


def plan_of(*, quorum: int = 1, late: str = "refuse") -> Plan:
    """The plan of one window with a goal of both devices."""
    return from_toml(TOML.format(quorum=quorum, late=late), MODEL)


def devices_of(plan: Plan) -> tuple[Device, ...]:
    """Both devices."""
    return tuple(Device(name, Key(hashlib.sha256(name.encode()).digest()), plan) for name in DEVICES)


def ground_of(plan: Plan, service: str) -> Ground:
    """What a service stands on; the auditor reads the noise keys as they are."""
    role = {"privacy_accountant": "receipt", "releaser": "release"}.get(service, "invitation")
    return Ground(plan, MODEL, ROLES[role], seal_for_auditor=bytes)


def opening() -> Opening:
    """What opens the one window."""
    return Opening(after=0, cohort=DEVICES, seed=SEED, at=START)
