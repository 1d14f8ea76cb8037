"""Charge every update to the window that it counts in, or say why it counts in none.

Everything that the accountant must know stands in the ledger, so its state is empty and its step books what it hears.
What is decided here is given what the ledger holds, and says what the ledger shall hold:

    bind     in the open window, with the weight of its staleness; the window's own updates have full weight
    wait     no window that may have it has room: the next opening decides
    refuse   for ever; where only the content is at fault it still arrived, and is the zero update in its window

**In rounds** a window holds its whole cohort. An update is late once the window that it names has ended, and its
staleness τ is how many windows later it is combined. Late updates take what room is left, so that they never keep out
those who are in time.

**Buffered**, a window holds as many updates as its goal, whichever windows they name, in the order in which they are
admitted, so it seals with exactly those. τ is how many versions newer the window's base is than the one that the update
was trained from [FedBuff, arXiv:2106.06639, Sec. 3]: a window that was abandoned made no version and makes nothing
staler, and the updates of two windows on one base are equally fresh.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from mizzle import accounting
from mizzle.errors import Misconfigured
from mizzle.grid import has_room
from mizzle.messages import ModelRef, Update, Verdict, Window
from mizzle.moves import Ground, Moved, Tick, Told
from mizzle.terms import bound_of, mechanism_of
from mizzle.vocabulary import FULL_WEIGHT
from services.privacy_accountant.folding import contract_of, forbids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mizzle.messages import Opening
    from mizzle.plan import Plan
    from mizzle.plugins import Mechanism

_MOST_LOSS: Final = 2**62


class State(Struct, frozen=True):
    """Nothing: the ledger remembers."""


def begin(ground: Ground) -> State:
    """The state of an accountant that can open the windows of its plan.

    Raises:
        Misconfigured: the sum of a full window could wrap (I12).
    """
    terms = terms_of(ground.plan)
    most, sigma = ground.plan.window.most, terms.mechanism.sigma(FULL_WEIGHT, terms.bound)
    if not has_room(most, FULL_WEIGHT, terms.bound, sigma):
        text = f"the sum of {most} updates and its noise could pass 2^62, so no window opens"
        raise Misconfigured(f"{text}: lower window.goal, window.invite or the noise multiplier in a new plan")
    return State()


def step(ground: Ground, state: State, event: Told | Tick) -> Moved[State]:
    """Every message heard is one for the ledger; the passing of time is none."""
    del ground
    return Moved(state, booked=(event.message,) if isinstance(event, Told) else ())


@dataclass(frozen=True)
class Bind:
    """The update counts in this window, with this weight."""

    window: int
    weight: int
    staleness: int


@dataclass(frozen=True)
class Wait:
    """The update waits for the next window to open; nothing is reserved for it."""


@dataclass(frozen=True)
class Refuse:
    """The update is refused; in the window `zero_in` it is the zero update, so that contents never change a count."""

    reason: str
    why: str = ""
    zero_in: int | None = None


@dataclass(frozen=True)
class Standing:
    """Where the federation stands: `last` is its newest window's number, `target` that window while it is open.

    `late` counts the late updates that `target` holds, in a buffered federation all that it holds. No window opens once
    the federation is `halted`. `version` is the newest release's, from which the next window would start.
    """

    last: int
    target: Window | None
    late: int
    halted: bool
    version: int = 0


@dataclass(frozen=True)
class Sender:
    """What the ledger knows of a device in a window: it is in the cohort, and it has sent another update for it."""

    is_invited: bool
    has_sent: bool


def place(
    terms: Terms, verdict: Verdict, named: Window | None, standing: Standing, sender: Sender
) -> Bind | Wait | Refuse:
    """Where an update of `sender` counts that names the window `named`."""
    update = verdict.update
    if named is None:
        return Refuse("unknown-window", f"no window {update.window} has been opened; the newest is {standing.last}")
    misfit = _misfit(terms, update, named, sender)
    if misfit is not None:
        return misfit
    decided = bound(terms.plan, named, standing)
    if verdict.refused is not None:
        return Refuse(verdict.decided_by, verdict.refused, zero_in=zero_in(terms.plan, decided, standing))
    return decided


def bound(plan: Plan, named: Window, standing: Standing) -> Bind | Wait | Refuse:
    """Where an update that names the window `named` counts, as far as its envelope says."""
    target = standing.target
    is_another = target is not None and target.number != named.number
    if target and is_another and (why := forbids(contract_of(plan, named), contract_of(plan, target))):
        return Refuse("late", why)
    if plan.window.is_buffered:
        return buffered(plan, named, standing)
    if target is None or is_another:
        return late(plan, named.number, standing)
    return Bind(named.number, FULL_WEIGHT, 0)


def misdated(terms: Terms, epoch: int) -> Refuse | None:
    """Why an update that was sealed in this parameter epoch counts nowhere; None if the federation is in it."""
    if epoch == terms.epoch:
        return None
    return Refuse("wrong-epoch", f"sealed in parameter epoch {epoch}, the federation is in epoch {terms.epoch}")


def lost(named: int) -> Refuse:
    """The end of an update that names a window of a time that a restored ledger does not know."""
    return Refuse("restored", f"window {named} was open in a ledger that was lost, and the update may be in a release")


def late(plan: Plan, named: int, standing: Standing) -> Bind | Wait | Refuse:
    """Where an update counts whose window `named` has ended; the staleness is how many windows ago."""
    if plan.window.late == "refuse":
        return Refuse("late", f"window {named} has ended, and the plan folds no late updates")
    target = standing.target
    staleness = (target.number if target else standing.last + 1) - named
    if staleness > plan.window.max_staleness:
        return Refuse("stale", f"window {named} is {staleness} windows ago, at most {plan.window.max_staleness} may be")
    if target and standing.late < target.most - len(target.cohort):
        return Bind(target.number, stale_weight(staleness), staleness)
    if standing.halted:
        return Refuse("ended", "the federation opens no window any more")
    return Wait()


def buffered(plan: Plan, named: Window, standing: Standing) -> Bind | Wait | Refuse:
    """Where an update counts in a buffered federation; the staleness is how many versions ago it was begun."""
    target = standing.target
    staleness = (target.base.version if target else standing.version) - named.base.version
    if staleness > plan.window.max_staleness:
        most = plan.window.max_staleness
        return Refuse("stale", f"window {named.number} began {staleness} versions ago, at most {most} may be")
    if target and standing.late < target.most:
        return Bind(target.number, stale_weight(staleness), staleness)
    if standing.halted:
        return Refuse("ended", "the federation opens no window any more")
    return Wait()


def zero_in(plan: Plan, decided: Bind | Wait | Refuse, standing: Standing) -> int | None:
    """The window that a refused content is the zero update of: where its envelope counts, so that no content matters.

    Who would have waited is the zero update of the next window; late ones in rounds count nowhere.
    """
    match decided:
        case Bind(window=window) if plan.window.is_buffered or decided.staleness == 0:
            return window
        case Wait() if plan.window.is_buffered:
            return standing.last + 1
        case _:
            return None


def stale_weight(staleness: int) -> int:
    """⌊64/√(1+τ)⌋, in integers [FedBuff, arXiv:2106.06639, Sec. 5]."""
    return math.isqrt(FULL_WEIGHT * FULL_WEIGHT // (1 + staleness))


@dataclass(frozen=True)
class Terms:
    """A plan in numbers: its digest, S as `bound`, and as `limit` the Σμ² that the stricter of its budgets allows.

    `epoch` is the parameter epoch in which it holds.
    """

    plan: Plan
    digest: bytes
    mechanism: Mechanism
    bound: int
    limit: int
    epoch: int = 0
    _prices: dict[int, int] = field(default_factory=dict, repr=False, compare=False)

    def loss(self, before: int, weight: int) -> int:
        """What `weight` more costs a device that is in a window with the weight `before` already.

        One draw of noise covers all that a device has in a sum, and their sensitivities add: the price is of their sum.
        """
        return self._price(before + weight) - self._price(before)

    def _price(self, weight: int) -> int:
        if weight not in self._prices:
            self._prices[weight] = self.mechanism.price(weight, FULL_WEIGHT, self.bound)
        return self._prices[weight]


def terms_of(plan: Plan, epoch: int = 0) -> Terms:
    """The plan's terms, in the parameter epoch in which it holds."""
    budget = min(plan.privacy.device_budget, plan.privacy.federation_budget)
    return Terms(plan, plan.digest, mechanism_of(plan), bound_of(plan), _limit(budget, plan.privacy.delta), epoch)


def window_of(plan: Plan, number: int, base: ModelRef, opening: Opening, cohort: Sequence[str]) -> Window:
    """Window `number`, as the opening asked for it, with those of its cohort that belong and can pay."""
    return Window(
        number=number,
        base=base,
        cohort=tuple(cohort),
        goal=plan.window.goal,
        quorum=plan.window.quorum,
        most=plan.window.most if plan.window.is_buffered else max(plan.window.most, len(cohort)),
        deadline=opening.at + round(plan.window.deadline_s * 1000),
        seed=opening.seed,
        bound=bound_of(plan),
        weight_cap=FULL_WEIGHT,
    )


def _misfit(terms: Terms, update: Update, named: Window, sender: Sender) -> Refuse | None:
    if update.plan != terms.digest:
        return Refuse("wrong-plan", f"made by plan {update.plan.hex()}, the federation's is {terms.digest.hex()}")
    if update.base != named.base.digest:
        return Refuse(
            "wrong-base", f"trained from {update.base.hex()}, the window's model is {named.base.digest.hex()}"
        )
    if not sender.is_invited:
        return Refuse("uninvited", f"{update.device} was not invited to window {named.number}")
    if sender.has_sent:
        return Refuse("second", f"{update.device} has sent another update for window {named.number}")
    return None


@cache
def _limit(budget: float, delta: float) -> int:
    return min(_MOST_LOSS, accounting.most(budget, delta))
