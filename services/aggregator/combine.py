"""Combine the charged updates of each window, once.

A window's integers are summed as they come. At the goal, or at its deadline, the sum is noised with a key drawn for it
alone, and the mean becomes the next model by the plan's strategy; with too few of its cohort the window is given up
instead, and no noise is drawn. What the strategy remembers comes with the window, from the release that it starts
from: only what was released is remembered. The sum outlives the sealing, because the ledger may reject a member: it is
subtracted and the rest sealed again, under a new key.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from safetensors.numpy import load

from mizzle.errors import Away, Misbehaved, Unreadable
from mizzle.grid import GAIN, Integers, Vector
from mizzle.messages import Abandonment, Aggregate, BlobRef, Charge, Closed, Rejection, Window
from mizzle.misbehaviour import asked
from mizzle.moves import Ground, Moved, Tick, Told
from mizzle.payload import read
from mizzle.terms import codec_of, grid_of, mechanism_of
from mizzle.vocabulary import MOST_SENTENCE, MuSquared, WindowNumber
from services.aggregator import gathering as sums
from services.aggregator.gathering import DUE, GIVEN_UP, SEALED, Gathering
from services.aggregator.succession import strategy_of, successor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


MOST_TRIES: Final = 3
WITHOUT_END: Final = f"to seal it did not end {MOST_TRIES - 1} times: is there memory for a model of this size?"


class State(msgspec.Struct, frozen=True):
    """What the aggregator knows between two entries.

    `ended` is the newest window that the ledger has closed; `spent` the most that any device has spent or reserved: a
    window says so of all of them, and a charge of its own.
    """

    ended: WindowNumber = 0
    spent: MuSquared = 0
    gathering: Gathering | None = None


def begin(ground: Ground) -> State:
    """Nothing is being gathered; the ledger's facts will say what is.

    Raises:
        Misconfigured: the plan names a strategy, a codec or a mechanism that is not here.
    """
    strategy_of(ground.plan.combine.strategy)
    codec_of(ground.plan)
    mechanism_of(ground.plan)
    return State()


def step(ground: Ground, state: State, event: Told | Tick) -> Moved[State]:
    """Where the sum goes on `event`, and the aggregate or the abandonment that comes of it."""
    if isinstance(event, Tick) and state.gathering is not None:
        sums.settle(state.gathering)  # a tick ends each batch, and then the state is stored
    match event, state.gathering:
        case Told(Window() as window, attached), _ if window.number > _newest(state):
            spent = max(state.spent, window.spent)
            is_inherited = window.number > state.ended + 1
            opened = _opened(ground, window, attached, is_inherited=is_inherited)
            return Moved(_replaced(state, spent=spent, gathering=opened))
        case Told(Charge() as charge, attached), gathering:
            is_new = gathering is not None and gathering.lacks(charge)
            noted = _take_in(ground, gathering, charge, attached.get(charge.id)) if gathering and is_new else ()
            return Moved(_replaced(state, spent=max(state.spent, charge.spent)), noted=noted)
        case Told(Rejection() as said, attached), Gathering() as gathering if members := gathering.named_in(said):
            return _rejected(ground, state, gathering, members, attached)
        case Told(Closed() as closed), _:
            return Moved(_closed(state, closed))
        case Tick(now, entropy, tries), Gathering() as gathering if gathering.is_ready(now, _lasts_ms(ground)):
            if tries >= MOST_TRIES:
                return _given_up(state, gathering, WITHOUT_END)
            return _sealed(ground, state, gathering, entropy)
        case _:  # repeated, late or another window's: at-least-once delivery makes these everyday
            return Moved(state)


def _lasts_ms(ground: Ground) -> int:
    return round(ground.plan.window.deadline_s * 1000)


def _newest(state: State) -> int:
    return max(state.ended, state.gathering.window.number if state.gathering else 0)


def _opened(ground: Ground, window: Window, attached: Mapping[bytes, bytes], *, is_inherited: bool) -> Gathering:
    base = ground.model if window.base.digest == ground.plan.model.digest else attached.get(window.base.digest)
    if base is None:
        raise Away(f"window {window.number} starts from model {window.base.digest.hex()}, which no store gave us")
    memory, is_buffered = _memory(window, attached), ground.plan.window.is_buffered
    return sums.opened(window, base, memory, is_buffered=is_buffered, is_inherited=is_inherited)


def _memory(window: Window, attached: Mapping[bytes, bytes]) -> dict[str, Vector]:
    """What the strategy remembered when it made the window's model."""
    if window.optimizer is None:
        return {}
    memory = attached.get(window.optimizer.digest)
    if memory is None:
        raise Away(f"window {window.number} goes on from {window.optimizer.digest.hex()}, which no store gave us")
    return load(memory)


def _take_in(ground: Ground, gathering: Gathering, charge: Charge, payload: bytes | None) -> tuple[str, ...]:
    """Count the update; without its payload nothing is counted, since its device will send it again.

    One that the detector could read and we cannot is as if it had not come: the window's end is its end, too.
    """
    if charge.weight == 0:
        sums.arrive(gathering, charge)
    elif payload is not None:
        try:
            update = read(payload, ground.plan)
        except Unreadable as error:
            return (f"update {charge.id.hex()} was read once and cannot be read now: {error}",)
        sums.put_in(gathering, charge, update, grid_of(ground.plan))
    return ()


def _rejected(
    ground: Ground, state: State, gathering: Gathering, members: Sequence[bytes], attached: Mapping[bytes, bytes]
) -> Moved[State]:
    """The sum without these members, due to be sealed again; given up if one can no longer be subtracted."""
    grid = grid_of(ground.plan)
    try:
        levels = [read(attached[update], ground.plan) for update in members]
    except (KeyError, Unreadable):
        return _given_up(state, gathering)
    for update, of_it in zip(members, levels, strict=True):
        sums.take_out(gathering, update, of_it, grid)
    gathering.phase = DUE
    return Moved(state)


def _closed(state: State, closed: Closed) -> State:
    """The state without the window that has ended."""
    gathering = state.gathering
    if gathering is not None and gathering.window.number <= closed.window:
        gathering = None
    return State(max(state.ended, closed.window), state.spent, gathering)


def _sealed(ground: Ground, state: State, gathering: Gathering, key: bytes) -> Moved[State]:
    """The window's aggregate under the noise key `key`, or its abandonment.

    It is abandoned if the crowd is too small, or if a plug-in misbehaves: it would again, and nobody shall wait for a
    window that never ends (I31). Then the noise counts as drawn.
    """
    if len(gathering.arrived) < gathering.window.quorum or gathering.crowd < ground.plan.privacy.minimum_crowd:
        return _given_up(state, gathering)
    window = gathering.window
    sigma = mechanism_of(ground.plan).sigma(window.weight_cap, window.bound)
    noise_key = ground.seal_for_auditor(key)
    try:
        noised = _noised(ground, gathering, sigma, key)
        model, memory = _next_model(ground, gathering, noised)
    except Misbehaved as misbehaved:
        return _given_up(state, gathering, str(misbehaved))
    gathering.phase = SEALED
    kept = (noised.astype("<i8").tobytes(), model, *([memory] if memory else []))
    total, changed, *optimizer = map(_reference, kept)
    aggregate = Aggregate(
        window=window.number,
        base=window.base,
        members=gathering.listed(),
        arrived=len(gathering.arrived),
        spent=state.spent,
        sigma=sigma,
        noise_key=noise_key,
        total=total,
        model=changed,
        optimizer=optimizer[0] if optimizer else None,
    )
    return Moved(state, said=(aggregate,), kept=kept)


def _given_up(state: State, gathering: Gathering, why: str = "") -> Moved[State]:
    """The window's abandonment: too few came, or else `why`, and then noise was drawn."""
    abandonment = Abandonment(
        window=gathering.window.number,
        arrived=len(gathering.arrived),
        quorum=gathering.window.quorum,
        noise_was_drawn=bool(why) or gathering.noise_was_drawn,
        why=why[:MOST_SENTENCE],
    )
    gathering.phase = GIVEN_UP
    return Moved(state, booked=(abandonment,), noted=(why,) if why else ())


def _noised(ground: Ground, gathering: Gathering, sigma: int, key: bytes) -> Integers:
    """The sum (d,) with its noise; both are `GAIN` times what the weighted sum of updates is.

    Raises:
        Misbehaved: the mechanism raised, or gave something else than so many integers.
    """
    grid, who = grid_of(ground.plan), f"mechanism {ground.plan.privacy.mechanism.name!r}"
    noise: object = asked(who, mechanism_of(ground.plan).noise, key, GAIN * sigma, grid.size)
    if not (isinstance(noise, np.ndarray) and noise.dtype == np.int64 and noise.shape == (grid.size,)):
        raise Misbehaved(f"{who} gave noise that is not {grid.size} integers of 64 bits")
    return sums.total(gathering, grid) + noise


def _next_model(ground: Ground, gathering: Gathering, noised: Integers) -> tuple[bytes, bytes | None]:
    """The next model's file, and that of what the strategy must remember for the one after it.

    The mean divides by the plan's goal and not by how many came: a constant, so that it tells nothing (DESIGN 4).
    """
    window, plan = gathering.window, ground.plan
    mean = noised * grid_of(plan).unit / (GAIN * plan.window.goal * window.weight_cap)
    return successor(plan.combine.strategy, gathering.base, mean, gathering.memory)


def _reference(blob: bytes) -> BlobRef:
    return BlobRef(digest=hashlib.sha256(blob).digest(), size=len(blob))


def _replaced(state: State, **changes: object) -> State:
    return msgspec.structs.replace(state, **changes)
