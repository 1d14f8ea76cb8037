"""Judge every update by itself and by its device's own past.

Nothing that other devices sent is looked at. A verdict refuses a content, never an envelope: the update goes on as the
zero update, so that contents change no count. A score that misbehaves has judged nothing, so what it was asked about is
refused. An update without its payload is not judged: its device sends it again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from mizzle.errors import Misbehaved, Unreadable
from mizzle.grid import Coded, fits, norm_excess
from mizzle.messages import Received, Verdict
from mizzle.misbehaviour import asked
from mizzle.moves import Ground, Moved, Tick, Told
from mizzle.payload import read
from mizzle.plan import PlugIn
from mizzle.registry import plug_in
from mizzle.terms import bound_of, codec_of
from mizzle.vocabulary import MOST_SCORE, MOST_SENTENCE, DeviceId, WindowNumber

if TYPE_CHECKING:
    from mizzle.plugins import Assessment

LOOKS_BACK: Final = 16
"""How many accepted norms of a device its next update is compared with."""

_KEPT: Final = 2 * LOOKS_BACK  # so that an update judged again, 16 later, still has the past it had


class Past(msgspec.Struct, frozen=True):
    """The norm of an update that was accepted, as a share of the bound, and the window that it named."""

    window: WindowNumber
    norm: float


class State(msgspec.Struct, frozen=True):
    """What each device sent before, oldest window first.

    It is changed in place, and whoever steps with it holds no other copy: a copy for each update would take longer the
    more devices there are.
    """

    accepted: dict[DeviceId, tuple[Past, ...]] = {}


@dataclass(frozen=True)
class Finding:
    """What one score said of an update; `noted` where it misbehaved."""

    name: str
    score: float
    refused: str | None = None
    noted: tuple[str, ...] = ()


def begin(ground: Ground) -> State:
    """No device has a past.

    Raises:
        Misconfigured: the plan names a score or a codec that is not here.
    """
    _assessments(ground)
    codec_of(ground.plan)
    return State()


def step(ground: Ground, state: State, event: Told | Tick) -> Moved[State]:
    """The verdict on what was received, and the past that the device has from now on."""
    match event:
        case Told(Received() as received, attached) if received.id in attached:
            return _judged(ground, state, received, attached[received.id])
        case _:
            return Moved(state)


def _judged(ground: Ground, state: State, received: Received, payload: bytes) -> Moved[State]:
    try:
        levels = read(payload, ground.plan)
    except Unreadable as error:
        return Moved(state, said=(_verdict(received, Finding("shape", 0.0, str(error)[:MOST_SENTENCE])),))
    norm = _norm(levels, bound_of(ground.plan))
    past = [one.norm for one in _past(state, received) if one.window < received.update.window]
    decisive = _decisive(ground, norm, past[-LOOKS_BACK:])
    if decisive.refused is None:
        _remember(state, received, norm)
    return Moved(state, said=(_verdict(received, decisive),), noted=decisive.noted)


def _norm(levels: Coded, bound: int) -> float:
    """m·‖q‖₂ / S, above 1 exactly when the integers say that the update does not fit."""
    excess = norm_excess(levels.multiplier, levels.sum_of_squares, bound)
    is_fitting = fits(levels.multiplier, levels.sum_of_squares, bound)
    return min(excess, 1.0) if is_fitting else max(excess, math.nextafter(1.0, 2.0))


def _assessments(ground: Ground) -> dict[str, Assessment]:
    """The scores to be asked, in their order."""
    names = dict.fromkeys(("norm", *ground.plan.judge.scores))
    return {name: plug_in("services.anomaly_detector.scores", PlugIn(name=name)) for name in names}


def _decisive(ground: Ground, norm: float, past: list[float]) -> Finding:
    """The first finding that refuses, or else the highest; the norm is always asked, whatever the plan names."""
    findings = [_finding(name, one, norm, past) for name, one in _assessments(ground).items()]
    refusing = [finding for finding in findings if finding.refused is not None]
    return refusing[0] if refusing else max(findings, key=lambda finding: finding.score)


def _finding(name: str, assessment: Assessment, norm: float, past: list[float]) -> Finding:
    """What a score says; an update that it cannot judge is refused."""
    try:
        return _scored(name, assessment, norm, past)
    except Misbehaved as misbehaved:
        return Finding(name, 0.0, _cut(str(misbehaved)), (str(misbehaved),))


def _scored(name: str, assessment: Assessment, norm: float, past: list[float]) -> Finding:
    who = f"score {name!r}"
    score = asked(who, lambda: float(assessment.score(norm, tuple(past))))
    if not abs(score) <= MOST_SCORE:
        raise Misbehaved(f"{who} gave no finite number, or one beyond {MOST_SCORE:g}")
    why: object = asked(who, assessment.refuses, score)
    if not isinstance(why, str | None):
        raise Misbehaved(f"{who} gave a {type(why).__name__} for a reason, wanted a sentence or None")
    return Finding(name, score, None if why is None else _cut(why))


def _cut(sentence: str) -> str:
    """The sentence as far as a message holds it, without what UTF-8 has no bytes for."""
    return sentence[:MOST_SENTENCE].encode(errors="replace").decode()


def _past(state: State, received: Received) -> tuple[Past, ...]:
    return state.accepted.get(received.update.device, ())


def _remember(state: State, received: Received, norm: float) -> None:
    """Have this norm as the device's newest; windows only grow, so what is judged again is there already."""
    past, window = _past(state, received), received.update.window
    if past and window <= past[-1].window:
        return
    state.accepted[received.update.device] = (*past, Past(window, norm))[-_KEPT:]


def _verdict(received: Received, finding: Finding) -> Verdict:
    return Verdict(
        id=received.id,
        update=received.update,
        sealed=received.sealed,
        decided_by=finding.name,
        score=finding.score,
        refused=finding.refused,
    )
