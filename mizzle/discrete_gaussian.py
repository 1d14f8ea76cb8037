"""Exact draws from the discrete Gaussian, thousands at a time: x ∈ ℤ with probability proportional to exp(−x²/2σ²).

Write |x| = h·2^j + l with 0 ≤ l < 2^j, and j such that s = σ/2^j lies in [64, 128). Then

    exp(−x²/2σ²) = exp(−h²/2s²) · exp(−γ),    γ = l·(2h·2^j + l)/2σ² < 1.

So a *height* h is drawn by inversion from a table of some 1,300 limits, l is uniform, both together are kept with
probability exp(−γ), which is above .99 on average, and a fair sign is given; zero with a minus is thrown away, as it
would come twice. Whether one is kept is decided by Canonne, Kamath and Steinke's trials [2020, arXiv:2004.00010,
Algorithm 1].

No float decides anything it could get wrong. The table's limits are integers that interval arithmetic has certified to
the last of 64 bits; a random word that equals a limit is decided by its next 64 bits under limits of twice as many. The
first trial compares a word with γ in floats, and only those that lie clear of it, by more than all rounding, are kept
at once; the others are tried in integers. A draw beyond 16σ raises `OverflowError`: its probability is below 2^-180,
and with σ up to 2^59 everything nearer fits 64 bits.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mizzle.grid import Integers
    from mizzle.keystream import Keystream, Words

SIGMA_MIN: Final = 64
SIGMA_MAX: Final = 2**59  # `grid.has_room` allows no more

_STEPS: Final = 64  # s is at least so many heights, and less than twice as many
_WORD: Final = 64
_GUIDE_BITS: Final = 16
_NO_GUIDE: Final = 2**16 - 1
_CHUNK: Final = 1 << 13  # so that all that is made of one stays in the cache
_CLEAR: Final = 1 + 2.0**-40  # beyond every rounding of a few operations in float64

_Heights = npt.NDArray[np.int64]


def draw(words: Keystream, sigma: int, size: int) -> Integers:
    """Independent draws (size,) of standard deviation σ.

    Args:
        words: uniform; the same words give the same draws.
        sigma: 64 … 2^59.
        size: how many.

    Raises:
        ValueError: σ is out of range.
        OverflowError: a draw lies beyond 16σ, which the words of no sound source make happen.
    """
    if not SIGMA_MIN <= sigma <= SIGMA_MAX:
        raise ValueError(f"exact draws take a σ of 64 … 2^59, got {sigma}")
    drawn, filled = np.empty(size, np.int64), 0
    while filled < size:
        some = _some(words, sigma, min(_CHUNK, (size - filled) * 65 // 64 + 8))[: size - filled]
        drawn[filled : filled + some.size] = some
        filled += some.size
    return drawn


def _some(words: Keystream, sigma: int, tries: int) -> Integers:
    """Draws that a number of tries gives, nearly as many."""
    shift = _shift(sigma)
    heights = _heights(words, sigma, tries)
    places = words.words(tries)
    lows = (places >> np.uint64(1) >> np.uint64(63 - shift)).view(np.int64)
    negative = (places & np.uint64(1)).astype(np.bool_)
    sizes = (heights << shift) | lows
    kept = _survivors(words, sigma, heights << shift, lows)
    kept &= (sizes != 0) | ~negative
    return np.where(negative, -sizes, sizes)[kept]


def _shift(sigma: int) -> int:
    """The j for which σ/2^j lies in [64, 128)."""
    return sigma.bit_length() - _STEPS.bit_length()


# Heights: P(h) ∝ exp(−h²/2s²), h ≥ 0


@dataclass(frozen=True)
class _Table:
    """Inversion: the height of a uniform word is the number of limits that are not above it.

    Of most words the first 16 bits tell already: `guide` has that height, or `_NO_GUIDE` where a limit has these bits.
    """

    limits: Words
    guide: npt.NDArray[np.uint16]


def _heights(words: Keystream, sigma: int, count: int) -> _Heights:
    """Heights (count,)."""
    table, drawn = _table(sigma), words.words(count)
    heights: _Heights = table.guide[drawn >> np.uint64(_WORD - _GUIDE_BITS)].astype(np.int64)
    unguided = np.flatnonzero(heights == _NO_GUIDE)
    if unguided.size:
        rare = drawn[unguided]
        found = np.searchsorted(table.limits, rare, side="right")
        heights[unguided] = found
        for tie in unguided[table.limits[np.maximum(found, 1) - 1] == rare]:
            heights[tie] = _height(words, sigma, int(drawn[tie]))
    return heights


def _height(words: Keystream, sigma: int, word: int) -> int:
    """The height of a uniform number that begins with `word`: as many more words are drawn as decide it."""
    bits = _WORD
    while True:
        limits = _limits(sigma, bits)
        least = bisect_left(limits, word)
        if least << _shift(sigma) >= 16 * sigma:
            raise OverflowError("a draw of noise lies beyond 16σ: the source of random words is broken, start anew")
        if least == bisect_right(limits, word):
            return least
        word, bits = word << _WORD | words.word(), bits + _WORD


@lru_cache(maxsize=8)
def _table(sigma: int) -> _Table:
    limits = np.array(_limits(sigma, _WORD), np.uint64)
    first = np.arange(1 << _GUIDE_BITS, dtype=np.uint64) << np.uint64(_WORD - _GUIDE_BITS)
    last = first | np.uint64((1 << _WORD - _GUIDE_BITS) - 1)
    below, upto = np.searchsorted(limits, first, side="left"), np.searchsorted(limits, last, side="right")
    return _Table(limits, np.where(below == upto, below, _NO_GUIDE).astype(np.uint16))


def _limits(sigma: int, bits: int) -> list[int]:
    """⌊2^bits · P(height ≤ h)⌋ for h = 0, 1, …, until all of them are 2^bits − 1."""
    guard = _WORD
    while True:
        low, high = _cumulative(sigma, bits, guard)
        if low == high:
            return low
        guard *= 2


def _cumulative(sigma: int, bits: int, guard: int) -> tuple[list[int], list[int]]:
    """Both ends of the limits, from sums that are carried with so many bits more."""
    one = 1 << bits + guard
    parts = list(_bells(sigma, one))
    lows, highs = (list(accumulate(ends)) for ends in zip(*parts, strict=True))
    rest = 16 * parts[-1][1]  # beyond 8s each bell is less than 16/17 of the one before
    most = (1 << bits) - 1  # for no height is surely the last
    low = [(end << bits) // (highs[-1] + rest) for end in lows]
    return low, [min(most, (end << bits) // lows[-1]) for end in highs]


def _bells(sigma: int, one: int) -> Iterator[tuple[int, int]]:
    """Both ends of one·exp(−h²/2s²), h = 0, 1, …, until it may be nothing: each is the last times exp(−(2h−1)/2s²)."""
    step = _exponential(one, 1 << 2 * _shift(sigma), 2 * sigma * sigma)
    bell, ratio, twice = (one, one), step, _times(step, step, one)
    while bell[0]:
        yield bell
        bell, ratio = _times(bell, ratio, one), _times(ratio, twice, one)


def _times(a: tuple[int, int], b: tuple[int, int], one: int) -> tuple[int, int]:
    return a[0] * b[0] // one, -(-a[1] * b[1] // one)


def _exponential(one: int, part: int, whole: int) -> tuple[int, int]:
    """Both ends of one·exp(−part/whole), for part ≤ whole: the terms of its series alternate, and become smaller."""
    low = high = one
    term, n = (one, one), 0
    while term[1] > 1:
        n += 1
        term = term[0] * part // (whole * n), -(-term[1] * part // (whole * n))
        low, high = (low - term[1], high - term[0]) if n % 2 else (low + term[0], high + term[1])
    return low - 1, high + 1  # all that is left out is less than the last term


# Trials: kept with probability exp(−γ)


def _survivors(words: Keystream, sigma: int, steep: _Heights, lows: _Heights) -> npt.NDArray[np.bool_]:
    """Which (count,) are kept, of those with steep = h·2^j and l; nearly all survive the first trial, in floats."""
    kept = np.ones(lows.size, np.bool_)
    first = words.words(lows.size)
    near = (2.0 * steep + lows) * lows  # float64 from here
    near *= _CLEAR * 2.0**_WORD / (2.0 * sigma * sigma)
    for tried in np.flatnonzero(first <= near + 1):
        low = int(lows[tried])
        part = low * (2 * int(steep[tried]) + low)
        kept[tried] = _survives(words, int(first[tried]), part, 2 * sigma * sigma)
    return kept


def _survives(words: Keystream, word: int, part: int, whole: int) -> bool:
    """True with probability exp(−part/whole), for part ≤ whole [Algorithm 1], by a word and those that follow."""
    trials = 1
    while _happens(words, word, part, whole * trials):
        trials += 1
        word = words.word()
    return trials % 2 == 1


def _happens(words: Keystream, word: int, part: int, whole: int) -> bool:
    """True with probability part/whole: 64 bits decide, unless they agree so far; then the next 64."""
    edge, rest = divmod(part << _WORD, whole)
    return word < edge or (word == edge and _happens(words, words.word(), rest, whole))
