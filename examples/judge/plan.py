"""What a federation's plan says, as far as it bears on what is judged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .books import Act
from .envelope import unpacked
from .ledger import Ledger
from .rows import Federation, Window


@dataclass(frozen=True)
class Rules:
    """The plan's settings that the ledger can be held against; nothing where the plan does not say."""

    mechanism: str | None
    noise_multiplier: float | None
    delta: float | None
    device_budget: float | None
    federation_budget: float | None
    minimum_crowd: int
    late: str | None
    max_staleness: int | None
    mode: str | None
    parameters: int | None


@lru_cache
def rules(federation: Federation | None) -> Rules:
    """The settings in this federation's plan."""
    plan = _parsed(federation.plan) if federation else {}
    return Rules(
        mechanism=_word(plan, "privacy.mechanism.name"),
        noise_multiplier=_number(plan, "privacy.mechanism.fields.noise_multiplier"),
        delta=_number(plan, "privacy.delta"),
        device_budget=_number(plan, "privacy.device_budget"),
        federation_budget=_number(plan, "privacy.federation_budget"),
        minimum_crowd=_count(plan, "privacy.minimum_crowd") or 0,
        late=_word(plan, "window.late"),
        max_staleness=_count(plan, "window.max_staleness"),
        mode=_word(plan, "window.mode"),
        parameters=_count(plan, "model.parameters"),
    )


def _word(plan: Mapping[str, Any], name: str) -> str | None:
    found = said_at(plan, name)
    return found if isinstance(found, str) else None


def _count(plan: Mapping[str, Any], name: str) -> int | None:
    found = said_at(plan, name)
    return found if isinstance(found, int) else None


def _number(plan: Mapping[str, Any], name: str) -> float | None:
    found = said_at(plan, name)
    return float(found) if isinstance(found, int | float) else None


def rules_of(ledger: Ledger, federation: str) -> Rules:
    """The settings of the federation of this name."""
    return rules(ledger.federation_of.get(federation))


@lru_cache(maxsize=1 << 12)
def body_of(window: Window | None) -> Mapping[str, Any]:
    """The message that opened a window."""
    return unpacked(window.body) if window else {}


def cohort_of(window: Window | None) -> tuple[object, ...]:
    """Who was invited to a window."""
    cohort = body_of(window).get("cohort")
    return tuple(cohort) if isinstance(cohort, list) else ()


def base_of(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The base model that an invitation or a window names."""
    return _table(message, "base")


def said_at(message: Mapping[str, Any], name: str) -> object:
    """The value under a name with dots."""
    found: object = message
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def written(act: Act) -> Mapping[str, Any]:
    """What a row of the log says in its body; nothing where that is no JSON object."""
    try:
        said = json.loads(act.body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _table(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = table.get(name)
    return found if isinstance(found, dict) else {}


def _parsed(plan: bytes) -> Mapping[str, Any]:
    try:
        parsed = json.loads(plan)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
