"""Discrete Gaussian noise on the integer sum: the mechanism of a plan that says `mechanism = "gaussian"`.

The guarantee. Unit: one device. Adjacency: its contents replaced by zero; that it took part is not protected. Nothing
is assumed about who is invited or takes part, so nothing is amplified, and the services are trusted with the clipped
updates. A window's sum moves by at most w·S when one device's contents do, so one update costs μ² = (w·S/σ)², ρ = μ²/2.

Draws are exact (`mizzle.discrete_gaussian`): every probability is the stated law's, no float gives a neighbour away.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Final

from mizzle.accounting import MU2_UNIT
from mizzle.discrete_gaussian import SIGMA_MAX, draw
from mizzle.grid import Integers

FINE: Final = 28  # noise is drawn at a standard deviation of at least 2^FINE steps
KEY_BYTES: Final = 32


@dataclass(frozen=True)
class Gaussian:
    """Noise of standard deviation z·W·S on the weighted sum, where z is the noise multiplier."""

    noise_multiplier: float

    claims: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a number that promises nothing."""
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier > 0):
            raise ValueError(f"noise_multiplier is finite and above 0, got {self.noise_multiplier}: correct [privacy]")

    def sigma(self, weight_cap: int, bound: int) -> int:
        """σ of the weighted integer sum, before the factor 64 of the rotation back: ⌈z·W·S⌉."""
        return math.ceil(Fraction(self.noise_multiplier) * weight_cap * bound)

    def price(self, weight: int, weight_cap: int, bound: int) -> int:
        """μ² of one update of this weight, in units of 2^-32, rounded up: whatever its own norm, which is private."""
        mu = Fraction(weight * bound, self.sigma(weight_cap, bound))
        return math.ceil(mu * mu / Fraction(MU2_UNIT))

    def noise(self, key: bytes, sigma: int, size: int) -> Integers:
        """`size` independent discrete Gaussians of standard deviation σ; a window's aggregate takes 64 times its own σ.

        The same key gives the same noise, so a key serves one aggregate and comes fresh from the operating system.
        Drawn at 2^f·σ ≥ 2^28 and rounded to the nearest multiple of 2^f, halves upwards. The sum is such a multiple,
        so rounding is post-processing, and to any accountant the noise is a Gaussian up to 1.2e-12 in δ.

        Raises:
            ValueError: the key has not 32 bytes, or σ is not 1 … 2^59.
        """
        if len(key) != KEY_BYTES or not 1 <= sigma <= SIGMA_MAX:
            raise ValueError(f"noise takes a key of 32 bytes and a σ of 1 … 2^59, got {len(key)} bytes and σ = {sigma}")
        from mizzle.keystream import Keystream  # noqa: PLC0415 - imports what no device needs: 40 ms and 9 MB

        finer = max(0, FINE + 1 - sigma.bit_length())
        draws = draw(Keystream(key), sigma << finer, size)
        draws += 1 << finer >> 1
        draws >>= finer
        return draws
