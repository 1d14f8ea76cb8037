"""What the bench puts through the pipeline: how many updates of how many numbers, in windows of how many devices."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from safetensors.numpy import save

from mizzle.envelope import Key
from mizzle.errors import Misconfigured
from mizzle.grid import clip
from mizzle.plan import Plan, from_toml
from mizzle.terms import bound_of, codec_of, grid_of

FEDERATION: Final = "bench"
DEADLINE_S: Final = 3600.0
"""No window ends by its deadline: an update that is lost must fail the run, not shrink it."""

_PLAN: Final = """
schema = 1
federation = "{federation}"
model = "model.safetensors"
[train]
[window]
mode = "rounds"
goal = {window}
quorum = {window}
invite = 1.0
deadline_s = {deadline}
windows = {windows}
[select]
policy = "uniform"
[update]
codec = "hadamard"
bits = {bits}
[judge]
scores = ["norm", "history"]
[combine]
strategy = "fedavg"
[privacy]
mechanism = "gaussian"
noise_multiplier = 1.0
minimum_crowd = {crowd}
"""
_LEAST_CROWD: Final = 8


class Load(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many updates of `elements` numbers at `bits` each, in windows that `window` devices take part in.

    Every device takes part in every window, so there are `window` devices.
    """

    elements: int
    bits: int
    updates: int
    window: int

    def __post_init__(self) -> None:
        """Refuse what does not come out even.

        Raises:
            Misconfigured: the updates fill no whole number of windows.
        """
        if self.window < 1 or self.updates < 1 or self.updates % self.window:
            text = f"the updates fill a whole number of windows, got {self.updates} updates in windows of {self.window}"
            raise Misconfigured(f"{text}: set --updates to a multiple of --window")

    @property
    def windows(self) -> int:
        """How many windows it takes."""
        return self.updates // self.window

    @property
    def devices(self) -> tuple[str, ...]:
        """The names of the devices."""
        return tuple(f"device-{number}" for number in range(self.window))


def load_of(elements: int, bits: int, updates: int, window: int) -> Load:
    """A load whose windows hold `window` updates, or all of them if there are fewer."""
    return Load(elements, bits, updates, min(window, updates))


def plan_of(load: Load) -> tuple[Plan, bytes]:
    """A plan that trains one tensor of so many numbers, and its first model."""
    model = save({"weight": np.zeros(load.elements, np.float32)})
    text = _PLAN.format(
        federation=FEDERATION,
        window=load.window,
        windows=load.windows,
        bits=load.bits,
        deadline=DEADLINE_S,
        crowd=min(_LEAST_CROWD, load.window),
    )
    return from_toml(text, model), model


def key_of(device: str) -> Key:
    """The device's key; publisher and ledger make the same one of its name, so that no file of keys is needed."""
    return Key(hashlib.sha256(b"bench/" + device.encode()).digest())


@dataclass(frozen=True)
class Body:
    """A payload that was coded before the clock started, and its digest."""

    payload: bytes
    digest: bytes


def bodies(plan: Plan, count: int) -> tuple[Body, ...]:
    """So many different payloads, coded as a device codes what it has learned.

    Their changes of the model are Gaussian and as long as the clip allows, and they are rotated by a seed of their own
    and not by a window's. To the services that is the same work: any levels that fit the bound are an update.
    """
    grid, codec, bound = grid_of(plan), codec_of(plan), bound_of(plan)
    chance = np.random.default_rng(0)
    made = []
    for _ in range(count):
        change = clip(chance.standard_normal(grid.size), plan.update.clip)
        payload = codec.encode(change, grid, chance.bytes(32), bound, chance.bytes)
        made.append(Body(payload, hashlib.sha256(payload).digest()))
    return tuple(made)
