"""What the services build on in every plug-in of a kind, as checks that its author can run.

Each check takes a plug-in, made with whatever settings, and raises `Nonconforming` where it breaks a promise of its
kind:

    @pytest.mark.parametrize("check", conformance.CODEC)
    def test_my_codec_conforms(check):
        check(MyCodec(share=0.1))

The checks take their examples from fixed seeds, so they say the same every time.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from safetensors.numpy import load, save

from mizzle.errors import Unreadable
from mizzle.grid import Grid, Levels, Sparse, fits, value
from mizzle.registry import is_frozen

if TYPE_CHECKING:
    from mizzle.grid import Coded, Vector
    from mizzle.plugins import Assessment, Codec, Draw, Mechanism, Policy, Strategy

Check = Callable[[Any], None]
"""Raises `Nonconforming` where a plug-in breaks a promise of its kind."""

_BOUND: Final = 2**21
_SIZES: Final = (1, 63, 100, 4097)
_CAP: Final = 64


class Nonconforming(AssertionError):
    """A plug-in breaks a promise of its kind; the text says which, and by what example."""


# All kinds ------------------------------------------------------------------------------------------------------------


def it_is_a_frozen_dataclass(plug_in: object) -> None:
    """Its fields are its settings, and it remembers nothing: else the same window could not be made again."""
    kind = type(plug_in)
    _require(is_frozen(kind), f"{kind.__qualname__} is no frozen dataclass: write @dataclass(frozen=True) above it")


# Codecs ---------------------------------------------------------------------------------------------------------------


def payloads_have_one_length(codec: Codec) -> None:
    """A payload is as long as `payload_bytes` says, whatever the change: another length would tell about it."""
    for grid in _grids(codec):
        for norm in (0.0, 1e-9, 0.5, 1.0, 1e9):
            found, wanted = len(_encoded(codec, grid, norm)), codec.payload_bytes(grid)
            _require(found == wanted, f"a payload on {grid} is {wanted} bytes, this one of norm {norm:g} is {found}")


def what_is_encoded_fits(codec: Codec) -> None:
    """Whatever comes in, m·‖q‖ never passes the bound S: a device's guarantee rests on it."""
    for grid in _grids(codec):
        for norm, bound in ((1.0, _BOUND), (1e9, _BOUND), (1.0, 2**30), (1e-3, 512)):
            update = codec.decode(_encoded(codec, grid, norm, bound=bound), grid)
            is_fitting = fits(update.multiplier, update.sum_of_squares, bound)
            _require(is_fitting, f"a change of norm {norm:g} on {grid} came out longer than the bound {bound}")


def what_is_decoded_lies_on_the_grid(codec: Codec) -> None:
    """Levels are odd integers up to 2^b − 1, one for each place; a sparse update's places ascend within the model."""
    for grid in _grids(codec):
        _refuse_off_the_grid(codec.decode(_encoded(codec, grid, 0.5), grid), grid)


def strangers_bytes_are_read_strictly(codec: Codec) -> None:
    """Bytes of any length and content are `Unreadable` or an update on the grid; nothing else ever happens."""
    for grid in _grids(codec):
        size = codec.payload_bytes(grid)
        for length in (0, 1, size - 1, size + 1, 2 * size + 1):
            _require(_read(codec, bytes(length), grid) is None, f"{length} bytes were read, a payload is {size}")
        for number in range(20):
            if (update := _read(codec, _stream(number)(size), grid)) is not None:
                _refuse_off_the_grid(update, grid)


def the_same_draws_give_the_same_bytes(codec: Codec) -> None:
    """A payload is a function of its arguments: nothing is drawn but by `draw`."""
    grid = _grid(codec, 100)
    _require(_encoded(codec, grid, 0.5) == _encoded(codec, grid, 0.5), "the same draws gave two different payloads")


def no_change_is_no_update(codec: Codec) -> None:
    """The zero change adds nothing to a sum."""
    grid = _grid(codec, 100)
    update = value(grid, codec.decode(_encoded(codec, grid, 0.0), grid), _seed(0))
    _require(not update.any(), "the zero change came out as something")


def an_update_points_where_its_change_does(codec: Codec) -> None:
    """On average over rotations and draws; by its full length, unless error feedback makes up for what is missing."""
    grid, change, many = _grid(codec, 300), _change(300, 0.5), 200
    total = np.zeros(300)
    for number in range(many):
        payload = codec.encode(change, grid, _seed(number), 2**40, _stream(number))
        total += value(grid, codec.decode(payload, grid), _seed(number))
    share = float(total @ change) / many / float(change @ change)
    least, most = (0.0, 1.5) if codec.error_feedback else (0.9, 1.1)
    _require(least < share < most, f"on average {share:.3f} of a change arrive, wanted {least} to {most}")


def what_is_not_finite_is_refused(codec: Codec) -> None:
    """NaN and infinity raise ValueError, so that the device declines and says why."""
    grid = _grid(codec, 100)
    for bad in (math.nan, math.inf, -math.inf):
        change = _change(100, 0.5)
        change[7] = bad
        try:
            codec.encode(change, grid, _seed(0), _BOUND, _stream(0))
        except ValueError:
            continue
        raise Nonconforming(f"a change that holds {bad} was encoded; raise ValueError")


CODEC: Final[tuple[Check, ...]] = (
    it_is_a_frozen_dataclass,
    payloads_have_one_length,
    what_is_encoded_fits,
    what_is_decoded_lies_on_the_grid,
    strangers_bytes_are_read_strictly,
    the_same_draws_give_the_same_bytes,
    no_change_is_no_update,
    an_update_points_where_its_change_does,
    what_is_not_finite_is_refused,
)

# Mechanisms -----------------------------------------------------------------------------------------------------------


def a_price_grows_with_the_weight(mechanism: Mechanism) -> None:
    """Weight 0 costs nothing, and no weight less than a smaller one; a claim costs something."""
    prices = [mechanism.price(weight, _CAP, _BOUND) for weight in range(_CAP + 1)]
    _require(prices[0] == 0, f"the zero update costs {prices[0]}")
    _require(prices == sorted(prices), "a heavier update costs less than a lighter one")
    _require(bool(prices[-1]) == mechanism.claims, "what claims privacy has its price, and what claims none has none")


def noise_is_a_function_of_its_key(mechanism: Mechanism) -> None:
    """So many 64-bit integers, the same for the same key; where privacy is claimed, others for another key."""
    sigma = mechanism.sigma(_CAP, _BOUND)
    first, again, other = (mechanism.noise(_seed(number), sigma, 200) for number in (1, 1, 2))
    _require(first.dtype == np.int64, f"noise is 64-bit integers, got {first.dtype}")
    _require(first.shape == (200,), f"noise for 200 coordinates has shape {first.shape}")
    _require(first.tolist() == again.tolist(), "the same key gave other noise: no aggregate could be replayed")
    if mechanism.claims:
        _require(first.tolist() != other.tolist(), "two keys gave the same noise")
        spread = float(first.std()) / sigma
        _require(0.7 < spread < 1.4, f"noise of σ = {sigma} has {spread:.2f} times its spread")  # noqa: PLR2004  # 200 draws


MECHANISM: Final[tuple[Check, ...]] = (
    it_is_a_frozen_dataclass,
    a_price_grows_with_the_weight,
    noise_is_a_function_of_its_key,
)

# Policies -------------------------------------------------------------------------------------------------------------


def nobody_is_invited_twice(policy: Policy) -> None:
    """As many as are wanted, or as there are; all of them present, each once."""
    for present, count in ((0, 5), (1, 5), (5, 5), (20, 1), (20, 7), (20, 40)):
        chosen = policy.choose(_devices(present), count, _seed(count))
        _require(len(chosen) == min(count, present), f"{count} of {present} were wanted, {len(chosen)} were chosen")
        is_right = len(set(chosen)) == len(chosen) and set(chosen) <= set(_devices(present))
        _require(is_right, f"somebody was chosen twice, or is not there: {chosen}")


def the_order_of_the_devices_does_not_matter(policy: Policy) -> None:
    """The same devices and the same entropy choose the same cohort: a selector that begins again asks the same."""
    for number in range(10):
        one, other = _devices(20), sorted(_devices(20), key=lambda device: hashlib.sha256(device.encode()).digest())
        _require(
            policy.choose(one, 7, _seed(number)) == policy.choose(other, 7, _seed(number)),
            "the same devices in another order were another cohort",
        )


POLICY: Final[tuple[Check, ...]] = (
    it_is_a_frozen_dataclass,
    nobody_is_invited_twice,
    the_order_of_the_devices_does_not_matter,
)

# Scores ---------------------------------------------------------------------------------------------------------------


def a_score_is_finite_and_sentences_are_short(assessment: Assessment) -> None:
    """A verdict carries the score, 0 … 1e300, and the sentence, at most 500 characters."""
    for norm, past in _norms():
        score = assessment.score(norm, past)
        _require(0 <= score <= 1e300, f"norm {norm} after {past} scores {score}")  # noqa: PLR2004  # as the docstring says
        why = assessment.refuses(score)
        _require((why is not None) == (score > 1), f"score {score} is refused for {why!r}: above 1, and only there")
        _require(why is None or 0 < len(why) <= 500, f"the reason of score {score} is {why!r}")  # noqa: PLR2004  # as above


def a_first_update_that_fits_is_accepted(assessment: Assessment) -> None:
    """A device without a past is not refused for what it cannot have."""
    for norm in (0.0, 1e-9, 0.5, 1.0):
        why = assessment.refuses(assessment.score(norm, []))
        _require(why is None, f"a first update of norm {norm} is refused: {why}")


def the_zero_update_is_accepted(assessment: Assessment) -> None:
    """It harms nobody, whatever its device sent before."""
    for _, past in _norms():
        why = assessment.refuses(assessment.score(0.0, past))
        _require(why is None, f"the zero update after {past} is refused: {why}")


SCORE: Final[tuple[Check, ...]] = (
    it_is_a_frozen_dataclass,
    a_score_is_finite_and_sentences_are_short,
    a_first_update_that_fits_is_accepted,
    the_zero_update_is_accepted,
)

# Strategies -----------------------------------------------------------------------------------------------------------


def a_model_stays_where_the_mean_is_zero(strategy: Strategy) -> None:
    """Nobody learned anything, so nothing moves."""
    model, _ = strategy.apply(_change(50, 3.0), np.zeros(50), {})
    _require(model.tolist() == _change(50, 3.0).tolist(), "the model moved where the mean update was zero")


def a_model_goes_where_the_mean_points(strategy: Strategy) -> None:
    """Not against it, at the first step."""
    model, _ = strategy.apply(_change(50, 3.0), _change(50, 0.5, 1), {})
    _require(float((model - _change(50, 3.0)) @ _change(50, 0.5, 1)) > 0, "the first step went against the mean update")


def a_strategy_leaves_its_arguments_as_they_are(strategy: Strategy) -> None:
    """The aggregator seals a window again from them if the ledger rejects a member."""
    model, mean = _change(50, 3.0), _change(50, 0.5, 1)
    _, memory = strategy.apply(model, mean, {})
    kept = {name: vector.copy() for name, vector in memory.items()}
    strategy.apply(model, mean, memory)
    is_same = model.tolist() == _change(50, 3.0).tolist() and mean.tolist() == _change(50, 0.5, 1).tolist()
    _require(is_same and _lists(memory) == _lists(kept), "the model, the mean or the memory was changed in place")


def a_strategy_does_the_same_for_the_same(strategy: Strategy) -> None:
    """Whoever audits a release rebuilds it bit for bit."""
    _require(_lists(_two_steps(strategy)) == _lists(_two_steps(strategy)), "the same steps led elsewhere")


def what_is_remembered_can_be_stored(strategy: Strategy) -> None:
    """The memory is vectors of 64-bit floats by name, and goes on as well from the file it is kept in."""
    model, memory = strategy.apply(_change(50, 3.0), _change(50, 0.5, 1), {})
    held: Mapping[str, Any] = memory
    for name, vector in held.items():
        is_vector = isinstance(vector, np.ndarray) and vector.dtype == np.float64 and vector.ndim == 1
        _require(is_vector and bool(np.isfinite(vector).all()), f"{name!r} is no finite vector of 64-bit floats")
    on, stored = (strategy.apply(model, _change(50, 0.5, 2), kept)[0] for kept in (memory, load(save(memory))))
    _require(on.tolist() == stored.tolist(), "after a stay in its file the memory led elsewhere")


STRATEGY: Final[tuple[Check, ...]] = (
    it_is_a_frozen_dataclass,
    a_model_stays_where_the_mean_is_zero,
    a_model_goes_where_the_mean_points,
    a_strategy_leaves_its_arguments_as_they_are,
    a_strategy_does_the_same_for_the_same,
    what_is_remembered_can_be_stored,
)

CHECKS: Final[Mapping[str, tuple[Check, ...]]] = {
    "codecs": CODEC,
    "mechanisms": MECHANISM,
    "policies": POLICY,
    "scores": SCORE,
    "strategies": STRATEGY,
}
"""All checks by the kind of plug-in, as entry-point groups name it: `mizzle.codecs` and so on."""

# Examples -------------------------------------------------------------------------------------------------------------


def _require(claim: bool, text: str) -> None:  # noqa: FBT001  # a claim and what it means that it is false
    if not claim:
        raise Nonconforming(text)


def _seed(number: int) -> bytes:
    return hashlib.sha256(b"conformance %d" % number).digest()


def _stream(number: int) -> Draw:
    """Bytes that look random and are the same every time."""
    served = 0

    def draw(count: int) -> bytes:
        nonlocal served
        served += 1
        return hashlib.shake_256(_seed(number) + served.to_bytes(4, "big")).digest(count)

    return draw


def _change(size: int, norm: float, number: int = 0) -> Vector:
    """A change (size,) of this Euclidean norm whose coordinates are close to Gaussian."""
    draws = np.frombuffer(_stream(number)(48 * size), "<u4").reshape(12, size) / 2.0**32
    vector = draws.sum(axis=0) - 6.0
    return np.asarray(vector * (norm / math.sqrt(np.square(vector).sum())), np.float64)


def _grid(codec: Codec, size: int) -> Grid:
    return Grid(exponent=-21, bits=codec.bits, size=size)


def _grids(codec: Codec) -> tuple[Grid, ...]:
    return tuple(_grid(codec, size) for size in _SIZES)


def _encoded(codec: Codec, grid: Grid, norm: float, *, bound: int = _BOUND) -> bytes:
    return codec.encode(_change(grid.size, norm), grid, _seed(0), bound, _stream(0))


def _read(codec: Codec, payload: bytes, grid: Grid) -> Coded | None:
    try:
        return codec.decode(payload, grid)
    except Unreadable:
        return None


def _refuse_off_the_grid(update: Coded, grid: Grid) -> None:
    _require(0 <= update.multiplier < 2**32, f"the multiplier {update.multiplier} is not 0 … 2^32 − 1")
    odd = bool((update.levels & 1).all())
    _require(odd and int(np.abs(update.levels).max()) <= grid.top, f"a level is odd and at most {grid.top}")
    match update:
        case Levels(levels=levels):
            _require(levels.shape == (grid.padded,), f"there are {grid.padded} levels, got {levels.shape}")
        case Sparse(places=places, levels=levels):
            ascend = bool((places[1:] > places[:-1]).all()) and places[0] >= 0 and places[-1] < grid.size
            _require(places.shape == levels.shape and ascend, "places ascend within the model, a level for each")


def _devices(count: int) -> list[str]:
    return [f"device-{number}" for number in range(count)]


def _norms() -> list[tuple[float, list[float]]]:
    """Norms as shares of the bound, each after some past of accepted ones."""
    pasts: tuple[list[float], ...] = ([], [0.0] * 3, [0.5] * 4, [0.0] * 16, [0.01, 1.0] * 8)
    drawn = np.frombuffer(_stream(0)(4 * 16 * 40), "<u4").reshape(40, 16) / 2.0**32
    longer = [shares[: number % 17].tolist() for number, shares in enumerate(drawn)]
    return [(norm, list(past)) for norm in (0.0, 1e-9, 0.3, 1.0, 1.0000001, 20.0, 1e12) for past in (*pasts, *longer)]


def _two_steps(strategy: Strategy) -> dict[str, Vector]:
    model, memory = strategy.apply(_change(50, 3.0), _change(50, 0.5, 1), {})
    model, memory = strategy.apply(model, _change(50, 0.5, 2), memory)
    return {"the model": model, **memory}


def _lists(vectors: Mapping[str, Vector]) -> dict[str, list[float]]:
    return {name: list(vector.tolist()) for name, vector in vectors.items()}
