"""What a plan means in the numbers of the grid: everybody who codes, judges, charges or combines works by these."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mizzle.errors import Misconfigured
from mizzle.grid import Grid

if TYPE_CHECKING:
    from mizzle.plan import Plan, PlugIn
    from mizzle.plugins import Codec, Mechanism

_FINEST: Final = 21
"""The clip is at least 2^21 units of the grid, so that the multiplier of an update is fine enough (DESIGN 4)."""


def grid_of(plan: Plan) -> Grid:
    """The grid that every update of `plan` lies on."""
    exponent = math.floor(math.log2(plan.update.clip)) - _FINEST
    bits = plan.update.codec.fields.get("bits", 8)
    return Grid(exponent=exponent, bits=int(str(bits)), size=plan.model.parameters)


def bound_of(plan: Plan) -> int:
    """S: the clip in units of the grid, rounded down."""
    return int(plan.update.clip / grid_of(plan).unit)


def codec_of(plan: Plan) -> Codec:
    """The codec that the plan names."""
    codec: Codec = plug_in("mizzle.codecs", plan.update.codec)
    return codec


def mechanism_of(plan: Plan) -> Mechanism:
    """The privacy mechanism that the plan names."""
    mechanism: Mechanism = plug_in("mizzle.mechanisms", plan.privacy.mechanism)
    return mechanism


def plug_in(folder: str, wanted: PlugIn) -> Any:  # noqa: ANN401  # the caller names the Protocol
    """The plug-in `wanted.name`: the frozen dataclass of the same name in the file of the same name below `folder`.

    Raises:
        Misconfigured: there is no such file, or its fields do not take what the plan gives.
    """
    try:
        module = importlib.import_module(f"{folder}.{wanted.name.replace('-', '_')}")
    except ModuleNotFoundError as error:
        raise Misconfigured(f"there is no plug-in {wanted.name!r} in {folder.replace('.', '/')}/") from error
    kind = getattr(module, "".join(word.title() for word in wanted.name.replace("-", "_").split("_")))
    known = {field.name for field in dataclasses.fields(kind)}
    if strange := sorted(wanted.fields.keys() - known):
        near = difflib.get_close_matches(strange[0], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(sorted(known)) or 'no fields'}"
        raise Misconfigured(f"plug-in {wanted.name!r} knows no {strange[0]!r}; {hint}")
    try:
        return msgspec.convert(wanted.fields, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"plug-in {wanted.name!r} does not take these fields: {error}") from error
