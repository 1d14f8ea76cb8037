"""What a training function is given, and how it says no."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from mizzle.device.fitness import LEAST_BATTERY, MOST_CELSIUS, unfit
from mizzle.device.senses import sensed
from mizzle.errors import MizzleError
from mizzle.model import named
from mizzle.transport.clock import steady

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    import numpy.typing as npt

    from mizzle.device.effects import Train
    from mizzle.plan import Setting

_LONGEST_MARGIN_MS: Final = 2000
_LOOK_EVERY_MS: Final = 1000


class Decline(MizzleError):
    """Raise it in a training function: the device says that it does not take part in this window, and why."""

    def __init__(self, reason: str, why: str = "") -> None:
        super().__init__(why or reason)
        self.reason = re.sub(r"[^A-Za-z0-9_-]+", "-", reason)[:64] or "declined"


class Task:
    """One window's work: start from `weights`, train with `settings`, return what they have become.

    `weights` are copies, by name, that may be trained in place. `batches` ends early enough before the deadline for the
    update to be coded and sent. `seen` counts the examples in its batches, `examples` those that the device has.
    """

    def __init__(self, order: Train, random: np.random.Generator) -> None:
        self.window = order.invitation.window
        self.settings: Mapping[str, Setting] = order.plan.train
        self.weights: dict[str, npt.NDArray[np.float32]] = named(order.model)
        self.seen = 0
        self.examples: int | None = None
        self._model = order.model
        self._random = random
        self._until = _until(order)
        self._looked = 0

    def load_into(self, module: Any) -> None:  # noqa: ANN401  # a torch.nn.Module, without importing torch here
        """Set the parameters of a torch module to `weights`; their names and shapes must be the module's own."""
        import torch  # noqa: PLC0415  # 224 MB that a numpy device does without

        module.load_state_dict({name: torch.from_numpy(weight.copy()) for name, weight in self.weights.items()})

    def pull(self, weights: Mapping[str, npt.NDArray[np.floating]]) -> dict[str, npt.NDArray[np.floating]]:
        """FedProx's part of the gradient at `weights`, by name: μ·(w − w_global), where μ is the plan's train.proximal.

        It pulls back to the model that training began from, so that skewed data do not carry a device away [Li et al.
        2020, arXiv:1812.06127, Eq. 2]. Zeros without train.proximal.
        """
        strength = self._proximal()
        return {name: strength * (weights[name] - start) for name, start in self._start.items()}

    def pull_back(self, module: Any) -> None:  # noqa: ANN401  # as `load_into`
        """Add `pull` to the gradients of a torch module: between `backward` and the optimizer's step."""
        import torch  # noqa: PLC0415  # as `load_into`

        if not (strength := self._proximal()):
            return
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                start = torch.from_numpy(self._start[name])
                parameter.grad.add_(parameter.detach() - start, alpha=strength)

    def batches(self, *columns: Any) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401  # arrays or tensors, whatever indexes
        """Go through the examples `settings["epochs"]` times, shuffled, `settings["batch_size"]` at a time.

        Each column holds one thing of every example, as a numpy array or a torch tensor; the last batch of an epoch may
        be smaller. It ends early shortly before the deadline, on heat and on a low battery.
        """
        count = self._count(columns)
        size = self._whole("batch_size", 32)
        for _ in range(self._whole("epochs", 1)):
            shuffled = self._random.permutation(count)
            for start in range(0, count, size):
                if not self._may_go_on():
                    return
                some = shuffled[start : start + size]
                self.seen += len(some)
                yield tuple(column[some] for column in columns)

    @cached_property
    def _start(self) -> dict[str, npt.NDArray[np.float32]]:
        """The weights that training began from, whatever was trained in place since."""
        return named(self._model)

    def _proximal(self) -> float:
        strength = self.settings.get("proximal", 0.0)
        if isinstance(strength, bool) or not isinstance(strength, int | float) or strength < 0:
            raise ValueError(f"the plan's train.proximal is a number, at least 0; got {strength!r}")
        return float(strength)

    def _count(self, columns: tuple[Any, ...]) -> int:
        lengths = {len(column) for column in columns}
        if len(lengths) != 1:
            raise ValueError(f"batches wants columns of one length, got lengths {[len(column) for column in columns]}")
        self.examples = lengths.pop()
        return self.examples

    def _whole(self, name: str, otherwise: int) -> int:
        value = self.settings.get(name, otherwise)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"the plan's train.{name} is a whole number, at least 1; got {value!r}")
        return value

    def _may_go_on(self) -> bool:
        at = steady()
        if at >= self._until:
            return False
        if at - self._looked < _LOOK_EVERY_MS or not self.settings.keys() & {LEAST_BATTERY, MOST_CELSIUS}:
            return True
        self._looked = at
        return unfit(self.settings, sensed(self.examples or 0)) is None


def _until(order: Train) -> int:
    """When to stop, by this device's clock: a tenth of the time left, two seconds at most, is for coding and sending.

    The deadline is the server's: a clock here that is slow would miss it, so no task takes longer than a whole window.
    Where the plan has updates of ended windows count in later ones, a task may go on for its grace besides.
    """
    start, window = steady(), order.plan.window
    grace = round(window.grace_s * 1000)
    left = min(order.invitation.deadline - start, round(window.deadline_s * 1000)) + grace
    return start + left - min(left // 10, _LONGEST_MARGIN_MS)
