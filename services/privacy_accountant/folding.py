"""Whether an update may count in another window than the one that it was made for.

What its device agreed to when it was invited is a contract: the grid that its integers lie on, how long and how heavy
it may be, how much noise covers it, and in how large a crowd. Another window may have it only if the integers mean the
same there and nothing of the contract is weaker there. Then the sums add exactly, and the device loses no more than it
agreed to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mizzle.terms import grid_of, mechanism_of

if TYPE_CHECKING:
    from mizzle.messages import Window
    from mizzle.plan import Plan


@dataclass(frozen=True)
class Contract:
    """What a window promises to those who are invited to it.

    `grid` is the grid's id; `bound` is S, `weight_cap` W, and `sigma` the noise on the weighted sum, all integers;
    `crowd` the least number of devices that a release is made of.
    """

    grid: str
    bound: int
    weight_cap: int
    sigma: int
    crowd: int


def contract_of(plan: Plan, window: Window) -> Contract:
    """The contract of a window of this plan."""
    return Contract(
        grid=grid_of(plan).id,
        bound=window.bound,
        weight_cap=window.weight_cap,
        sigma=mechanism_of(plan).sigma(window.weight_cap, window.bound),
        crowd=plan.privacy.minimum_crowd,
    )


def forbids(made_for: Contract, target: Contract) -> str | None:
    """Why an update that was made under one contract may not count under another; None if it may.

    The longest update under the first must fit under the second, else the loss that is charged there, (w·S/σ)², would
    be less than the true one. And W·S/σ, which a full update loses at the most, must not be more there: compared
    crosswise, in integers.
    """
    if target.grid != made_for.grid:
        return f"its grid is {made_for.grid[:16]}, the open window's is {target.grid[:16]}"
    if target.bound < made_for.bound:
        return f"it may be as long as {made_for.bound}, the open window's bound is {target.bound}"
    if target.weight_cap > made_for.weight_cap:
        return f"it may weigh {made_for.weight_cap} at most, in the open window {target.weight_cap}"
    if target.sigma * made_for.weight_cap * made_for.bound < made_for.sigma * target.weight_cap * target.bound:
        return f"it was promised noise of σ = {made_for.sigma} for {made_for.bound}, the open window has {target.sigma}"
    if target.crowd < made_for.crowd:
        return f"it was promised a crowd of {made_for.crowd}, the open window's is {target.crowd}"
    return None
