"""The sum of one window while it is gathered: exact integers, the same whatever the order in which updates come.

Updates of the window itself are added as they are coded, in the rotated domain of the window's seed, which is rotated
back once. A folded update was coded under the seed of the window it names; it is rotated back by itself and added to
the plain sum, and a sparse one, which was never rotated, is added there at once. Both sums carry the factor `GAIN`, so
they add.
"""

from typing import Annotated, Final, Literal

import msgspec
import numpy as np

from mizzle.grid import (
    Coded,
    Grid,
    Integers,
    Levels,
    Sparse,
    Vector,
    add,
    add_near,
    add_sparse,
    reach,
    rotate_back,
)
from mizzle.messages import Charge, Member, Rejection, Window
from mizzle.vocabulary import DeviceId, Instant, Seed, UpdateId, Weight

MOST_NEAR: Final = 2**31 - 1
"""No place of a sum in 32 bits may pass it."""

OPEN: Final = "open"
DUE: Final = "due"
SEALED: Final = "sealed"
GIVEN_UP: Final = "given up"
LONG_OVER_MS: Final = 3_600_000
"""A deadline that was over for so long before its window began was set by another clock."""


class Part(msgspec.Struct, frozen=True):
    """How an update is in the sum: of this device, with this weight, coded with this seed."""

    device: DeviceId
    weight: Weight
    seed: Seed


class Gathering(msgspec.Struct):
    """One window's sum. It is changed in place: whoever steps with it holds no other copy.

    open      takes charges until the goal or the deadline
    due       takes no more; a member was taken out of it, and the next tick seals it again
    sealed    has been said as an Aggregate; kept for a Rejection, until the ledger closes the window
    given up  has been booked as an Abandonment; kept so that it is booked once

    `members` are in the sum. `arrived` are the envelopes that count towards goal and quorum, contents that were
    refused among them: those of the window's own cohort, while folded updates ride along; all of them where the window
    `is_buffered`. `memory` is what the strategy remembers of the windows before it. `rotated` and `plain` are the two
    sums; each is None until an update is added to it, since most windows need only one, and all of this is written to
    Redis again and again. `near` is what was added to `rotated` lately and is not in it yet, in 32 bits, where no place
    passes `reach`; it is `settled` before the state is stored.

    `began` is the first tick since it was opened. The window is over at its deadline, and after as long as windows last
    besides: a clock that was set back would keep it open for a day. A deadline that was long over when it began tells
    nothing: where the clock that set it is behind ours, every window would end before anybody could take part.

    It `is_inherited` if the end of the window before it was never heard: what an aggregator before us remembered is
    lost, and it may have sealed it.
    """

    window: Window
    base: bytes
    is_buffered: bool = False
    memory: dict[str, np.ndarray] = {}
    rotated: np.ndarray | None = None
    plain: np.ndarray | None = None
    near: np.ndarray | None = None
    reach: Annotated[int, msgspec.Meta(ge=0, le=MOST_NEAR)] = 0
    phase: Literal["open", "due", "sealed", "given up"] = OPEN
    members: dict[UpdateId, Part] = {}
    arrived: set[UpdateId] = set()
    began: Instant | None = None
    is_inherited: bool = False

    def lacks(self, charge: Charge) -> bool:
        """Whether this charge is for us and new: at-least-once delivery brings it again."""
        return self.phase == OPEN and charge.window == self.window.number and charge.id not in self.members

    def named_in(self, rejection: Rejection) -> tuple[UpdateId, ...]:
        """The members that must leave the sealed sum."""
        is_ours = self.phase in {SEALED, DUE} and rejection.window == self.window.number
        return tuple(update for update in rejection.members if is_ours and update in self.members)

    def is_ready(self, now: int, lasts_ms: int) -> bool:
        """Whether the window is to be sealed, or given up: at its goal, when its time is over, or once more."""
        if self.began is None or now < self.began:
            self.began = now
        is_over = now >= self.window.deadline > self.began - LONG_OVER_MS or now - self.began >= lasts_ms
        return self.phase == DUE or (self.phase == OPEN and (is_over or len(self.arrived) >= self.window.goal))

    @property
    def noise_was_drawn(self) -> bool:
        """Whether noise was drawn for it, as far as anybody can know (I18)."""
        return self.phase in {SEALED, DUE} or self.is_inherited

    @property
    def crowd(self) -> int:
        """How many devices the members are of: one that came late may have two updates in a window."""
        return len({part.device for part in self.members.values()})

    def listed(self) -> tuple[Member, ...]:
        """The members by id, so that an aggregate does not tell the order in which they came."""
        return tuple(Member(id=update, weight=part.weight) for update, part in sorted(self.members.items()))


def opened(
    window: Window, base: bytes, memory: dict[str, Vector], *, is_buffered: bool, is_inherited: bool = False
) -> Gathering:
    """An empty sum for `window`, whose model is `base`."""
    return Gathering(window, base, is_buffered, memory, is_inherited=is_inherited)


def arrive(gathering: Gathering, charge: Charge) -> None:
    """Count the envelope of `charge`, unless it was folded into a window that counts its own cohort."""
    if gathering.is_buffered or charge.staleness == 0:
        gathering.arrived.add(charge.id)


def put_in(gathering: Gathering, charge: Charge, coded: Coded, grid: Grid) -> None:
    """Make the update a member."""
    part = Part(charge.device, charge.weight, charge.seed)
    _sum(gathering, part, coded, grid, sign=1)
    gathering.members[charge.id] = part
    arrive(gathering, charge)


def take_out(gathering: Gathering, update: bytes, coded: Coded, grid: Grid) -> None:
    """Leave the sum as if the member had never been in it."""
    _sum(gathering, gathering.members.pop(update), coded, grid, sign=-1)
    gathering.arrived.discard(update)


def settle(gathering: Gathering) -> None:
    """Have all that was added in the sums of 64 bits."""
    if gathering.near is not None:
        gathering.rotated = _begun(gathering.rotated, gathering.near.size)
        gathering.rotated += gathering.near
        gathering.near, gathering.reach = None, 0


def total(gathering: Gathering, grid: Grid) -> Integers:
    """Σ w·m·q, rotated back: `GAIN` times the weighted sum of the updates (d,), exactly."""
    settle(gathering)
    rotated, plain = gathering.rotated, gathering.plain
    found = np.zeros(grid.size, np.int64) if rotated is None else rotate_back(grid, rotated, gathering.window.seed)
    return found if plain is None else np.add(found, plain, out=found)


def _sum(gathering: Gathering, part: Part, coded: Coded, grid: Grid, sign: int) -> None:
    weight = sign * part.weight
    if isinstance(coded, Sparse):
        gathering.plain = _begun(gathering.plain, grid.size)
        add_sparse(gathering.plain, coded, weight)
    elif part.seed == gathering.window.seed:
        _add_rotated(gathering, coded, weight, grid)
    else:
        alone = np.zeros(grid.padded, np.int64)
        add(alone, coded, weight)
        gathering.plain = _begun(gathering.plain, grid.size)
        gathering.plain += rotate_back(grid, alone, part.seed)


def _add_rotated(gathering: Gathering, coded: Levels, weight: int, grid: Grid) -> None:
    """Add to the sum near by, while it has room, and else at once: most factors are so small that hundreds fit."""
    further = reach(grid, coded, weight)
    if gathering.reach + further > MOST_NEAR:
        settle(gathering)
    if further > MOST_NEAR:
        gathering.rotated = _begun(gathering.rotated, grid.padded)
        add(gathering.rotated, coded, weight)
        return
    if gathering.near is None:
        gathering.near = np.zeros(grid.padded, np.int32)
    add_near(gathering.near, coded, weight)
    gathering.reach += further


def _begun(total: Integers | None, size: int) -> Integers:
    return np.zeros(size, np.int64) if total is None else total
