"""Makers of what tests arrange: a small plan and its model, the ground of a service, windows, updates, charges.

Each has good defaults and takes what a test is about by name. The model has 60 parameters, coded in one block of 64.
"""

import hashlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import import_module
from typing import Any, TypeVar

import numpy as np
from safetensors.numpy import save

from mizzle.envelope import Key, Purpose, seal, unseal
from mizzle.grid import Vector
from mizzle.messages import BlobRef, Charge, ModelRef, Received, Update, Window
from mizzle.moves import Event, Ground, Moved, Tick
from mizzle.plan import Plan, from_toml
from mizzle.terms import bound_of, codec_of, grid_of

S = TypeVar("S")

MODEL = save({"bias": np.ones(4, np.float32), "weight": np.arange(56, dtype=np.float32).reshape(7, 8) / 64})
PLAN = """
schema = 1
federation = "barn"
model = "tiny.safetensors"
[train]
epochs = 1
[window]
mode = "rounds"
goal = 4
quorum = 2
invite = 1.5
deadline_s = 60.0
[select]
policy = "uniform"
[update]
codec = "hadamard"
bits = 8
clip = 1.0
[judge]
scores = ["norm", "history"]
[combine]
strategy = "fedavg"
[privacy]
mechanism = "gaussian"
noise_multiplier = 0.2
minimum_crowd = 2
"""

NOW = 1_800_000_000_000
"""The instant at which windows of these tests open."""

KEY = Key(bytes(range(32)))


def plan(model: bytes = MODEL, **settings: str) -> Plan:
    """The small plan with some lines in place of, or added to, those of a table: `plan(window="goal = 5")`."""
    text = PLAN
    for table, lines in settings.items():
        for line in lines.splitlines():
            name = line.partition(" = ")[0]
            head, _, rest = text.partition(f"[{table}]\n")
            body, mark, tail = rest.partition("\n[")
            kept = [old for old in body.splitlines() if old.partition(" = ")[0] != name]
            text = head + f"[{table}]\n" + "\n".join([*kept, line]) + mark + tail
    return from_toml(text, model)


def ground(of: Plan | None = None, *, key: Key = KEY, model: bytes = MODEL) -> Ground:
    """What a service of the small federation is given for life; an auditor's seal only marks what it was given."""
    return Ground(of or plan(), model, key, lambda secret: b"sealed " + secret)


def digest(word: str) -> bytes:
    """32 bytes that stand for a name: an id, a seed, somebody's entropy."""
    return hashlib.sha256(word.encode()).digest()


def tick(seconds: float = 0, entropy: str = "entropy") -> Tick:
    """So many seconds after the windows of these tests have opened."""
    return Tick(NOW + round(seconds * 1000), digest(entropy))


def base(version: int = 0, model: bytes = MODEL) -> ModelRef:
    """The model that a window starts from."""
    return ModelRef(version=version, digest=hashlib.sha256(model).digest(), size=len(model))


def window(number: int = 1, of: Plan | None = None, start: ModelRef | None = None) -> Window:
    """An open window as the ledger has it, its cohort device-1 to device-6."""
    of = of or plan()
    return Window(
        number=number,
        base=start or base(),
        cohort=tuple(f"device-{place}" for place in range(1, of.window.invited + 1)),
        goal=of.window.goal,
        quorum=of.window.quorum,
        most=of.window.most,
        deadline=NOW + round(of.window.deadline_s * 1000),
        seed=digest(f"seed of {number}"),
        bound=bound_of(of),
        weight_cap=64,
    )


def one_hot(place: int, of: Plan | None = None) -> Vector:
    """A change of one parameter that the small plan's codec writes without any rounding, almost as long as the clip.

    In the one block of 64 every level becomes ±top, and the multiplier is the largest that fits.
    """
    grid = grid_of(of or plan())
    change = np.zeros(grid.size)
    change[place] = hot_value(of) * grid.unit
    return change


def hot_value(of: Plan | None = None) -> int:
    """What a one-hot update adds to its coordinate, in units of the grid."""
    of = of or plan()
    length = 8 * grid_of(of).top
    return bound_of(of) // length * length


def payload(change: Vector, number: int = 1, of: Plan | None = None) -> bytes:
    """The change as a device codes it for this window; its rounding is drawn from the change itself."""
    of = of or plan()
    draw = hashlib.shake_256(change.tobytes()).digest
    return codec_of(of).encode(change, grid_of(of), window(number, of).seed, bound_of(of), draw)


def received(device: str, body: bytes, number: int = 1, of: Plan | None = None, nonce: str = "") -> Received:
    """An update of `device` with this payload, sealed with a key made of its name."""
    of = of or plan()
    update = Update(
        federation=of.federation,
        device=device,
        window=number,
        base=of.model.digest,
        plan=of.digest,
        nonce=digest(f"{device} {number} {nonce}")[:16],
        payload=BlobRef(digest=hashlib.sha256(body).digest(), size=len(body)),
    )
    sealed = seal(update, Purpose.UPDATE, Key(digest(device)), epoch=0, counter=number)
    return Received(id=unseal(sealed).id, update=update, sealed=sealed)


def charge(device: str, number: int = 1, **changes: Any) -> Charge:
    """The ledger's admission of a device's update to the window that it names; `changes` for a late or refused one."""
    admitted = {"id": digest(device), "device": device, "window": number, "weight": 64, "staleness": 0, "spent": 1}
    return Charge(**{**admitted, "seed": window(number).seed, **changes})


def fold(step: Callable[[Ground, S, Event], Moved[S]], ground: Ground, state: S, events: Iterable[Event]) -> Moved[S]:
    """Where the events lead, one after the other, and everything said, booked and kept on the way."""
    whole = Moved(state)
    for event in events:
        moved = step(ground, whole.state, event)
        whole = replace(
            moved,
            said=whole.said + moved.said,
            booked=whole.booked + moved.booked,
            kept=whole.kept + moved.kept,
        )
    return whole


def plug_ins(folder: str) -> list[str]:
    """The names of all plug-ins of a kind: the files in the kind's folder, as a plan names them."""
    found = pkgutil.iter_modules(import_module(folder).__path__)
    return sorted(module.name.replace("_", "-") for module in found)
