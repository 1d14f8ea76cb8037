"""Discrete Gaussian noise on the integer sum: the mechanism of a plan that says `mechanism = "gaussian"`.

The guarantee. Unit: one device. Adjacency: its contents replaced by zero; that it took part is not protected. Nothing
is assumed about who is invited or takes part, so nothing is amplified, and the services are trusted with the clipped
updates. A window's sum moves by at most w·S when one device's contents do, so one update costs μ² = (w·S/σ)², ρ = μ²/2.

The sampler is Canonne, Kamath and Steinke's [2020, arXiv:2004.00010, Algorithms 1 to 3]: rejections that integers
decide, so every probability is the stated law's and no float gives a neighbour away.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Final

import numpy as np

from mizzle.accounting import MU2_UNIT
from mizzle.grid import Integers

FINE: Final = 28  # noise is drawn at a standard deviation of at least 2^FINE steps
SIGMA_MAX: Final = 2**59  # `grid.has_room` allows no more
KEY_BYTES: Final = 32
_KEYSTREAM_BYTES: Final = 1 << 15


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
        words = keystream(key)
        finer = max(0, FINE + 1 - sigma.bit_length())
        half = 1 << finer >> 1
        draws = (discrete_gaussian(words, sigma << finer) + half >> finer for _ in range(size))
        return np.fromiter(draws, np.int64, size)


def keystream(key: bytes) -> Iterator[int]:
    """The AES-256-CTR keystream under a key, from counter 0, as endless little-endian words of 64 bits."""
    from cryptography.hazmat.primitives.ciphers import Cipher  # noqa: PLC0415 - 40 ms and 9 MB no device needs
    from cryptography.hazmat.primitives.ciphers.algorithms import AES  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.modes import CTR  # noqa: PLC0415

    stream = Cipher(AES(key), CTR(bytes(16))).encryptor()
    zeros = bytes(_KEYSTREAM_BYTES)
    while True:
        yield from np.frombuffer(stream.update(zeros), "<u8").tolist()


def discrete_gaussian(words: Iterator[int], sigma: int) -> int:
    """One integer x with probability proportional to exp(−x²/2σ²) [Algorithm 3], from uniform 64-bit `words`."""
    scale = sigma + 1
    while True:
        guess = _discrete_laplace(words, scale)
        # e^−(|y| − σ²/t)²/2σ², brought to one denominator
        if _survives(words, (abs(guess) * scale - sigma * sigma) ** 2, 2 * (sigma * scale) ** 2):
            return guess


def _discrete_laplace(words: Iterator[int], scale: int) -> int:
    """One integer x with probability proportional to exp(−|x|/t) [Algorithm 2 with s = 1]."""
    while True:
        rest = _below(words, scale)
        if not _survives(words, rest, scale):
            continue
        turns = 0
        while _survives(words, 1, 1):
            turns += 1
        size = rest + scale * turns
        negative = next(words) & 1
        if size or not negative:  # zero has one sign, else it would come twice as often
            return -size if negative else size


def _survives(words: Iterator[int], part: int, whole: int) -> bool:
    """True with probability exp(−part/whole) [Algorithm 1]."""
    while part > whole:
        if not _survives(words, 1, 1):
            return False
        part -= whole
    trials = 1
    while _happens(words, part, whole * trials):
        trials += 1
    return trials % 2 == 1


def _happens(words: Iterator[int], part: int, whole: int) -> bool:
    """True with probability part/whole: 64 bits decide, unless they agree so far; then the next 64."""
    edge, rest = divmod(part << 64, whole)
    word = next(words)
    return word < edge or (word == edge and _happens(words, rest, whole))


def _below(words: Iterator[int], limit: int) -> int:
    """A uniform integer 0 … limit − 1, for limits up to 2^64."""
    surplus = 64 - limit.bit_length()
    while (number := next(words) >> surplus) >= limit:
        pass
    return number
