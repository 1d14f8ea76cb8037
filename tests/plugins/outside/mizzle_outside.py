"""Four plug-ins that Mizzle does not bring: a codec, a policy, a score and a strategy."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mizzle import codes
from mizzle.errors import Unreadable
from mizzle.grid import Grid, Sparse, Vector, fit
from mizzle.plugins import Draw


@dataclass(frozen=True)
class Randk:
    """Send a random part of the parameters, made larger by as much, so that the mean is right."""

    share: float = 0.5

    bits: ClassVar[int] = 8
    error_feedback: ClassVar[bool] = False

    def payload_bytes(self, grid: Grid) -> int:
        """A multiplier, and four bytes for the place and one for the code of each parameter that is sent."""
        return codes.MULTIPLIER_BYTES + 5 * self._kept(grid)

    def encode(self, change: Vector, grid: Grid, seed: bytes, bound: int, draw: Draw) -> bytes:
        """The payload of a change."""
        del seed
        codes.refuse_misfit(change, grid, self.bits)
        lots = np.frombuffer(draw(8 * grid.size), "<u8")
        places = np.sort(np.argpartition(lots, self._kept(grid) - 1)[: self._kept(grid)])
        part = change[places] * (grid.size / len(places))
        multiplier = codes.least_multiplier(float(np.abs(part).max()), grid)
        chosen = codes.rounded(part / (multiplier * grid.unit) if multiplier else part, grid.top, draw)
        update = Sparse(multiplier, places, codes.levels(chosen, self.bits))
        head = fit(multiplier, update.sum_of_squares, bound).to_bytes(codes.MULTIPLIER_BYTES, "little")
        return head + places.astype("<u4").tobytes() + chosen.tobytes()

    def decode(self, payload: bytes, grid: Grid) -> Sparse:
        """The update in a payload."""
        kept = self._kept(grid)
        codes.refuse_length(payload, self.payload_bytes(grid), "randk", f"4 + 5 for each of {kept} parameters")
        places = np.frombuffer(payload, "<u4", kept, codes.MULTIPLIER_BYTES).astype(np.int64)
        if places[-1] >= grid.size or not (places[1:] > places[:-1]).all():
            raise Unreadable(f"the places of a randk payload ascend strictly and are below {grid.size}")
        chosen = np.frombuffer(payload, np.uint8, offset=codes.MULTIPLIER_BYTES + 4 * kept)
        multiplier = int.from_bytes(payload[: codes.MULTIPLIER_BYTES], "little")
        return Sparse(multiplier, places, codes.levels(chosen, self.bits))

    def _kept(self, grid: Grid) -> int:
        return math.ceil(self.share * grid.size)


@dataclass(frozen=True)
class Rota:
    """Invite in the order of the names, beginning somewhere else each time."""

    def choose(self, present: Sequence[str], count: int, entropy: bytes) -> tuple[str, ...]:
        """The `count` devices that follow a random one."""
        names = sorted(set(present))
        start = int.from_bytes(hashlib.sha256(entropy).digest()[:8], "big") % max(1, len(names))
        turned = names[start:] + names[:start]
        return tuple(sorted(turned[:count]))


@dataclass(frozen=True)
class Leap:
    """An update much longer than the one before it."""

    most: float = 50.0

    def score(self, norm: float, history: Sequence[float]) -> float:
        """A slow measure of how much longer than the last one it is: 1 at the most, 0 for a first one."""
        return (norm / (self.most * max(history[-1], 0.01))) ** (1 / 64) if history else 0.0

    def refuses(self, score: float) -> str | None:
        """A leap."""
        return f"it is over {self.most:.3g} times as long as its device's last one" if score > 1 else None


@dataclass(frozen=True)
class Cautious:
    """Go a part of the way that the mean update points, and remember how many steps were taken."""

    part: float = 0.75

    def apply(self, model: Vector, mean: Vector, memory: Mapping[str, Vector]) -> tuple[Vector, dict[str, Vector]]:
        """The model, moved a part of the way."""
        return model + self.part * mean, {"steps": memory.get("steps", np.zeros(1)) + 1}
