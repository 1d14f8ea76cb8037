"""A federation's plan: read from `plan.toml`, frozen, named by its digest.

The TOML is for people; what services and devices work by is its canonical JSON (`Plan.canonical`), in which the
model's digest and size stand beside its name. Its SHA-256 is in every invitation and in everything that devices sign.
In a table with a plug-in the first key names the plug-in and the keys that the table does not know are the plug-in's
own fields.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from mizzle.errors import Misconfigured
from mizzle.known import known
from mizzle.layout import tensors
from mizzle.vocabulary import Digest, FederationId, Size, Word

if TYPE_CHECKING:
    from collections.abc import Mapping

Setting = bool | int | float | str | list[bool | int | float | str]
"""What a value in the plan may be, below its tables."""

_LONGEST_S: Final = 1e12
_Positive = Annotated[float, Meta(gt=0, le=_LONGEST_S)]
_Whole = Annotated[int, Meta(ge=1, le=2**31)]
_Over = Annotated[float, Meta(ge=1, le=100)]
_Delta = Annotated[float, Meta(gt=0, lt=1)]


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the plan."""


class Model(Table):
    """The model that is trained: a safetensors file with names, shapes and the first weights."""

    name: str
    digest: Digest
    size: Size
    parameters: _Whole


class WindowPlan(Table):
    """How long a window collects, from how many, how soon the next may open, and what becomes of latecomers.

    rounds    each window invites a cohort on one model, and its goal counts updates of that cohort; `late` says
              whether those of earlier windows ride along, and `max_staleness` how many windows late they may be
    buffered  `invite` × goal devices are kept at work, and a window is sealed at `goal` updates of any model that is at
              most `max_staleness` versions older than its own [FedBuff, arXiv:2106.06639, Alg. 1]
    """

    mode: Literal["rounds", "buffered"]
    goal: _Whole
    quorum: _Whole
    invite: _Over = 1.33
    deadline_s: _Positive = 60.0
    pause_s: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    late: Literal["fold", "refuse"] = "fold"
    max_staleness: Annotated[int, Meta(ge=0, le=1000)] = 4
    windows: _Whole | None = None

    @property
    def is_buffered(self) -> bool:
        """Whether a window takes updates of any model that is not too old."""
        return self.mode == "buffered"

    @property
    def invited(self) -> int:
        """How many devices are at work when a window opens: the goal and a reserve for those who drop out."""
        return round(self.goal * self.invite)

    @property
    def most(self) -> int:
        """n_max: the most updates a window's sum can hold: its own and as many folded ones; buffered, its goal."""
        return self.goal if self.is_buffered else self.invited * (2 if self.late == "fold" else 1)

    @property
    def grace_s(self) -> float:
        """How long a task may go on after the deadline of the window that it is for.

        Buffered, for as many windows that all last to their deadline as its update may be stale; in rounds not at all.
        """
        return self.deadline_s * self.max_staleness if self.is_buffered else 0.0


class PlugIn(Table):
    """A plug-in by name, and its fields as the plan gives them."""

    name: Word
    fields: dict[str, Setting] = {}


class UpdatePlan(Table):
    """How an update is weighed, clipped and coded: with `examples`, by how many a device has for each so many."""

    codec: PlugIn
    clip: _Positive = 1.0
    examples: _Whole | UnsetType = UNSET


class JudgePlan(Table):
    """The scores that the anomaly detector computes, in this order."""

    scores: tuple[Word, ...] = ("norm",)


class CombinePlan(Table):
    """How updates become the next model."""

    strategy: PlugIn
    weight: Literal["uniform", "examples"] = "uniform"


class PrivacyPlan(Table):
    """The mechanism that noises every release, and where it stops."""

    mechanism: PlugIn
    delta: _Delta = 1e-5
    device_budget: _Positive = 1000.0
    federation_budget: _Positive = 1000.0
    minimum_crowd: _Whole = 8


class ReleasePlan(Table):
    """How often a model is released and how long its manifest holds."""

    every: Literal[1] = 1
    expires_h: _Positive = 168.0


class Plan(Table):
    """One federation: one model, trained by one plan."""

    schema: Literal[1]
    federation: FederationId
    model: Model
    train: dict[str, Setting]
    window: WindowPlan
    select: PlugIn
    update: UpdatePlan
    judge: JudgePlan
    combine: CombinePlan
    privacy: PrivacyPlan
    release: ReleasePlan

    @property
    def canonical(self) -> bytes:
        """The plan as every party reads it: JSON, keys sorted at every level, no spaces."""
        return msgspec.json.encode(self, order="sorted")

    @property
    def digest(self) -> bytes:
        """The plan's name: SHA-256 of its canonical form."""
        return hashlib.sha256(self.canonical).digest()


def from_canonical(body: bytes) -> Plan:
    """The plan whose canonical form is `body`.

    Raises:
        Misconfigured: it is not a plan of this schema; the text names the key.
    """
    try:
        return msgspec.json.decode(body, type=Plan)
    except msgspec.MsgspecError as error:
        text = f"this is no plan of schema 1: {error}"
        raise Misconfigured(text) from error


def from_toml(text: str, model: bytes) -> Plan:
    """The plan that `text` describes for the safetensors file `model`.

    Raises:
        Misconfigured: a key is unknown (the nearest known one is named), missing, out of bounds, or contradicts
        another.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"plan.toml is no TOML: {error}") from error
    shaped = {name: _with_plug_in(name, table) for name, table in _filled(tree).items()}
    shaped["model"] = _model(tree.get("model"), model)
    _refuse_unknown("plan.toml", shaped, Plan)
    for name in _TABLES.keys() & shaped.keys():
        _refuse_unknown(f"[{name}]", shaped[name], _TABLES[name])
    _refuse_unbounded("plan.toml", shaped)
    try:
        plan = msgspec.convert(shaped, Plan, strict=True, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise Misconfigured(f"plan.toml: {error}") from error
    refuse_contradictions(plan)
    return plan


def refuse_contradictions(plan: Plan) -> None:
    """Return if the plan's parts agree with each other.

    Raises:
        Misconfigured: two parts contradict each other; the text names both and the way out.
    """
    window, privacy = plan.window, plan.privacy
    if window.quorum > window.goal:
        raise Misconfigured(f"window.quorum {window.quorum} is more than window.goal {window.goal}: lower the quorum")
    if window.is_buffered and window.late == "refuse":
        text = "window.late 'refuse' beside window.mode 'buffered': its windows are made of updates of earlier ones"
        raise Misconfigured(f"{text}; use 'fold', or window.mode 'rounds'")
    if window.grace_s > _LONGEST_S:
        text = f"window.deadline_s × window.max_staleness is {window.grace_s:g} s, more than any clock counts"
        raise Misconfigured(f"{text}: lower one of them")
    if privacy.minimum_crowd > window.quorum:
        text = f"window.quorum {window.quorum} is less than privacy.minimum_crowd {privacy.minimum_crowd}: raise it"
        raise Misconfigured(text)
    if plan.combine.weight == "examples":
        text = "combine.weight 'examples' is refused: how many examples a device has is private, so it acts there alone"
        raise Misconfigured(f"{text}; use 'uniform', and set update.examples to how many a device usually has")


_TABLES: Final[Mapping[str, type[Table]]] = {
    "window": WindowPlan,
    "update": UpdatePlan,
    "judge": JudgePlan,
    "combine": CombinePlan,
    "privacy": PrivacyPlan,
    "release": ReleasePlan,
}

_PLUG_INS: Final = {"update": "codec", "combine": "strategy", "privacy": "mechanism"}


def _filled(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree with an empty table for each that the plan may leave out."""
    return {"judge": {}, "release": {}, **tree}


def _with_plug_in(name: str, table: Any) -> Any:  # noqa: ANN401  # whatever TOML holds
    """The table with its plug-in's name and fields gathered into one place."""
    if not isinstance(table, dict):
        return table
    if name == "select":
        return _gathered(table, "policy", frozenset())
    if name not in _PLUG_INS or _PLUG_INS[name] not in table:
        return table
    known = frozenset(_TABLES[name].__struct_fields__)
    kept = {key: value for key, value in table.items() if key in known}
    return {**kept, _PLUG_INS[name]: _gathered(table, _PLUG_INS[name], known)}


def _gathered(table: dict[str, Any], key: str, known: frozenset[str]) -> dict[str, Any]:
    fields = {name: value for name, value in table.items() if name != key and name not in known}
    return {"name": table.get(key), "fields": fields}


def _refuse_unknown(where: str, table: Any, kind: type[Struct]) -> None:  # noqa: ANN401  # as above
    if not isinstance(table, dict):
        raise Misconfigured(f"plan.toml: {where} is a table, got {table!r}")
    for key in table.keys() - set(kind.__struct_fields__):
        near = difflib.get_close_matches(key, kind.__struct_fields__, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(kind.__struct_fields__)}"
        raise Misconfigured(f"plan.toml: {where} knows no {key!r}; {hint}")


def _refuse_unbounded(where: str, value: Any) -> None:  # noqa: ANN401  # as above
    """JSON has neither NaN nor infinity, and no setting means them."""
    if isinstance(value, float) and not math.isfinite(value):
        raise Misconfigured(f"{where} is a finite number, got {value}")
    for key, below in value.items() if isinstance(value, dict) else ():
        _refuse_unbounded(f"{where}: {key}", below)


def _model(name: Any, body: bytes) -> dict[str, Any]:  # noqa: ANN401  # as above
    """What the plan says of its model, from the safetensors file itself."""
    if not isinstance(name, str) or not name:
        raise Misconfigured(f"plan.toml: model is the name of a safetensors file beside the plan, got {name!r}")
    return {"name": name, "digest": hashlib.sha256(body).digest(), "size": len(body), "parameters": parameters(body)}


def parameters(model: bytes) -> int:
    """d: how many numbers the safetensors file `model` holds.

    Raises:
        Misconfigured: it is no safetensors file of 32-bit floats.
    """
    return sum(math.prod(shape) for _, shape in tensors(model))


known(Plan)
