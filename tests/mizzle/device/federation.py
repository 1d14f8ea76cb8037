"""A federation as its devices see it: its keys, its plan and model, and everything it may say to a device."""

import hashlib
import secrets
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from safetensors.numpy import save

from mizzle import blobs, topics
from mizzle.device import enrol
from mizzle.envelope import Key, Purpose, seal
from mizzle.messages import (
    BlobRef,
    Counted,
    Enrolment,
    Identity,
    Invitation,
    Message,
    ModelRef,
    Outcome,
    Receipt,
    ServerKey,
)
from mizzle.plan import Plan, from_toml
from mizzle.terms import bound_of

MODEL = save({"weight": np.arange(12, dtype=np.float32).reshape(3, 4) / 8, "bias": np.zeros(3, np.float32)})
FAR = 2**52
PLAN = """
schema = 1
federation = "{name}"
model = "tiny.safetensors"
[train]
epochs = 2
batch_size = 4
learning_rate = 0.1
{train}
[window]
mode = "rounds"
goal = 2
quorum = 1
deadline_s = {deadline_s}
[select]
policy = "uniform"
[update]
codec = "hadamard"
bits = 8
clip = 1.0
[combine]
strategy = "fedavg"
[privacy]
mechanism = "gaussian"
noise_multiplier = 0.2
minimum_crowd = 1
"""


@dataclass(frozen=True)
class Federation:
    """One federation with one plan."""

    name: str = "barn"
    train: str = ""
    deadline_s: float = 60.0
    model: bytes = MODEL
    toml: str = ""
    receipt_key: Key = field(default_factory=lambda: Key(secrets.token_bytes(32)))
    invitation_key: Key = field(default_factory=lambda: Key(secrets.token_bytes(32)))
    secret: str = "5" * 32

    @cached_property
    def plan(self) -> Plan:
        tiny = PLAN.format(name=self.name, train=self.train, deadline_s=self.deadline_s)
        return from_toml(self.toml or tiny, self.model)

    def token(self, device: str) -> str:
        return f"mzt1.{self.name}.{device}.{self.secret}.{self.receipt_key.public_key.hex()}"

    def is_proven(self, enrolment: Enrolment) -> bool:
        """Whether the enrolment's proof was made with this federation's secret."""
        secret = hashlib.sha256(self.secret.encode()).digest()
        return enrolment.proof == enrol.proof(secret, self.name, enrolment.device, enrolment.public_key)

    def identity(self, device: str, public_key: bytes, *, epoch: int = 1, key: Key | None = None) -> bytes:
        identity = Identity(
            federation=self.name,
            device=device,
            public_key=public_key,
            keys=(
                ServerKey(role="receipt", public_key=self.receipt_key.public_key),
                ServerKey(role="invitation", public_key=self.invitation_key.public_key),
            ),
            plan=BlobRef(digest=self.plan.digest, size=len(self.plan.canonical)),
            epoch=epoch,
        )
        return self.sealed(identity, Purpose.IDENTITY, key or self.receipt_key, epoch)

    def invite(self, device: str, window: int = 1, *, version: int = 0, deadline: int = FAR) -> Invitation:
        return Invitation(
            federation=self.name,
            device=device,
            window=window,
            base=ModelRef(version=version, digest=hashlib.sha256(self.model).digest(), size=len(self.model)),
            plan=self.plan.digest,
            epoch=1,
            deadline=deadline,
            seed=bytes(32),
            bound=bound_of(self.plan),
        )

    def invitation(self, device: str, window: int = 1, *, version: int = 0, deadline: int = FAR) -> bytes:
        invitation = self.invite(device, window, version=version, deadline=deadline)
        return self.sealed(invitation, Purpose.INVITATION, self.invitation_key)

    def receipt(
        self, device: str, update: bytes, outcome: Outcome | None = None, *, key: Key | None = None, at: int = 1
    ) -> bytes:
        receipt = Receipt(
            federation=self.name,
            device=device,
            update=update,
            window=1,
            outcome=outcome or Counted(release=1, window=1, weight=64),
            at=at,
        )
        return self.sealed(receipt, Purpose.RECEIPT, key or self.receipt_key)

    def sealed(self, message: Message, purpose: Purpose, key: Key, epoch: int = 1) -> bytes:
        return seal(message, purpose, key, epoch, counter=1)

    def blobs(self) -> list[tuple[str, bytes]]:
        """Topic and body of every piece of the plan and the model."""
        return [
            (topics.blob(self.name, hashlib.sha256(blob).digest(), index), piece)
            for blob in (self.plan.canonical, self.model)
            for index, piece in enumerate(blobs.pieces(blob))
        ]
