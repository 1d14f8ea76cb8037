"""From a task to an update: the device's own function trains, and what it changed is checked, clipped and coded."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import UNSET

from mizzle.device import feedback
from mizzle.device.events import Declined, Trained
from mizzle.device.task import Decline, Task
from mizzle.errors import Misconfigured
from mizzle.grid import clip
from mizzle.model import flat, flat_of
from mizzle.payload import written
from mizzle.terms import bound_of, codec_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from mizzle.device.effects import Train
    from mizzle.grid import Vector
    from mizzle.messages import Invitation
    from mizzle.plan import Plan

TrainFunction = Callable[[Task], Any]
"""Trains and returns a torch module, or the weights by name."""

Encode = Callable[["Vector", "Plan", "Invitation"], bytes]
"""Makes a payload of Δ = trained − base, flat."""

OnTrained = Callable[["Invitation"], None]
"""Is called after training, before anything is sealed."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """How a task ended, and how many examples the device has, if the task counted them."""

    end: Trained | Declined
    examples: int | None = None


@dataclass(frozen=True)
class Trainer:
    """How a device trains: its function, the seed of its shuffling (None: fresh), and what is done with the change."""

    device: str
    function: TrainFunction
    seed: int | None
    encode: Encode
    on_trained: OnTrained

    def do(self, order: Train) -> Done:
        """Do a task; whatever goes wrong in it is logged and declined."""
        window, task = order.invitation.window, None
        try:
            _refuse_unknown_codec(order.plan)
            _refuse_broken(order)
            task = Task(order, self._random(window))
            end: Trained | Declined = self._trained(task, order)
        except Decline as declined:
            _log.warning("window %d is declined: %s", window, declined)
            end = Declined(window, declined.reason)
        except BaseException:  # noqa: BLE001  # whatever goes wrong in a task, panics too, ends it, and the device lives on
            _log.exception("the training function failed on window %d", window)
            end = Declined(window, "failed")
        return Done(end, task.examples if task else None)

    def _trained(self, task: Task, order: Train) -> Trained:
        change = _weighed(_change(self.function(task), order.model), order.plan, task.examples)
        self.on_trained(order.invitation)
        return self._coded(change, order)

    def _coded(self, change: Vector, order: Train) -> Trained:
        plan, invitation = order.plan, order.invitation
        wanted = feedback.carried(change, order.lost, plan)
        payload = self.encode(wanted, plan, invitation)
        return Trained(invitation.window, payload, feedback.still_lost(wanted, payload, plan, invitation))

    def _random(self, window: int) -> np.random.Generator:
        if self.seed is None:
            return np.random.default_rng()
        name = int.from_bytes(hashlib.sha256(self.device.encode()).digest()[:8], "big")
        return np.random.default_rng([self.seed, window, name])


def encoded(change: Vector, plan: Plan, invitation: Invitation) -> bytes:
    """The payload of an honest device: never longer than the plan's clip, whatever bound it is invited with."""
    bound = min(invitation.bound, bound_of(plan))
    clipped = clip(change, plan.update.clip)
    return written(clipped, plan, invitation.seed, bound, os.urandom)


def _refuse_unknown_codec(plan: Plan) -> None:
    """Return if there is the plan's codec here; nothing is trained that could not be said.

    Raises:
        Decline: there is not.
    """
    try:
        codec_of(plan)
    except Misconfigured as error:
        raise Decline("unknown-codec", str(error)) from error


def _refuse_broken(order: Train) -> None:
    """Whoever signed it, a model that is none is trained by nobody.

    Raises:
        Decline: the base is no model of the plan's size, or holds NaN or Inf.
    """
    try:
        start = flat(order.model)
    except Misconfigured as error:
        raise Decline("broken-model", f"the window's model cannot be read: {error}") from error
    wanted, wrong = order.plan.model.parameters, np.count_nonzero(~np.isfinite(start))
    if start.size != wanted or wrong:
        text = f"the window's model has {start.size} numbers, {wrong} of them NaN or infinite"
        raise Decline("broken-model", f"{text}; the plan's has {wanted}: ask the operator for another release")


def _change(result: object, model: bytes) -> Vector:
    """Δ: what training returned minus what it started from, in the order of the model's file.

    Raises:
        Decline: it is no model of this shape, or not finite.
    """
    try:
        change: Vector = flat_of(model, _arrays(result)) - flat(model)
    except (ValueError, TypeError) as error:
        raise Decline("wrong-shape", f"what was trained does not fit the model: {error}") from error
    if wrong := np.count_nonzero(~np.isfinite(change)):
        raise Decline(
            "not-finite", f"{wrong} of {change.size} trained numbers are NaN or infinite: lower learning_rate"
        )
    return change


def _weighed(change: Vector, plan: Plan, examples: int | None) -> Vector:
    """The change as much longer as the device has more examples than the plan expects, before it is clipped.

    So the sum is FedAvg's weighted one [McMahan et al. 2017, arXiv:1602.05629, Alg. 1] times a constant, and no count
    of examples leaves the device (DESIGN 4).

    Raises:
        Decline: the plan weighs updates by examples, and the task did not count any.
    """
    if plan.update.examples is UNSET:
        return change
    if not examples:
        raise Decline("uncounted", "the plan weighs updates by examples: go through them with task.batches")
    return change * (examples / plan.update.examples)


def _arrays(result: Any) -> dict[str, npt.NDArray[np.floating]]:  # noqa: ANN401  # a module or a mapping, as it comes
    weights = result.state_dict() if hasattr(result, "state_dict") else result
    if not isinstance(weights, Mapping):
        raise TypeError(f"wanted a torch module or the weights by name, got {type(result).__name__}")
    return {name: _array(weight) for name, weight in weights.items()}


def _array(weight: Any) -> npt.NDArray[np.floating]:  # noqa: ANN401  # an array or a tensor
    return np.asarray(weight.detach().cpu() if hasattr(weight, "detach") else weight, dtype=np.float64)
