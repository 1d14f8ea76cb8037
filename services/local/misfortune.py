"""What befalls a federation in a chaos run, and when: a schedule that follows from its seed alone.

Every kind comes about equally often: they are dealt from a deck of all kinds, which is shuffled again once it is used
up. Between two lie at most `LONGEST_GAP_S`, so a minute has at least `LEAST_A_MINUTE` of them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

SHORTEST_GAP_S, LONGEST_GAP_S = 2.0, 4.5
LEAST_A_MINUTE: Final = 10


class Kind(StrEnum):
    """What may befall a process (the first ten), the store's memory, a way between two of them, or a message."""

    KILL_SERVICE = "kill a service"
    RESTART_SERVICE = "restart a service"
    PAUSE_SERVICE = "pause a service"
    SUCCEED_SERVICE = "pause a service and start its successor"
    KILL_STORE = "kill Redis"
    PAUSE_STORE = "pause Redis"
    KILL_BROKER = "kill the broker"
    PAUSE_BROKER = "pause the broker"
    KILL_DEVICES = "kill devices"
    PAUSE_DEVICES = "pause devices"
    WIPE_BROKER = "kill the broker and wipe its memory"
    FLUSH_STORE = "flush Redis"
    ROLL_BACK_STORE = "set Redis back"
    CUT = "cut a line"
    CUT_AFTER = "cut lines after some bytes"
    HOLD = "one way only: not heard"
    HOLD_ANSWERS = "one way only: hears nothing"
    LOSE_ANSWERS = "lose answers"
    DELAY = "delay one way"
    REORDER = "reorder connections"
    DUPLICATE = "send updates again"


ON_WAYS: Final = frozenset(
    {Kind.CUT, Kind.CUT_AFTER, Kind.HOLD, Kind.HOLD_ANSWERS, Kind.LOSE_ANSWERS, Kind.DELAY, Kind.REORDER}
)
"""What befalls a way between two processes. For what is reordered there see `services.local.wire.Weather`."""

_ON_SERVICES: Final = frozenset({Kind.KILL_SERVICE, Kind.RESTART_SERVICE, Kind.PAUSE_SERVICE, Kind.SUCCEED_SERVICE})
_ON_DEVICES: Final = frozenset({Kind.KILL_DEVICES, Kind.PAUSE_DEVICES})
_ON_STORE: Final = frozenset({Kind.KILL_STORE, Kind.PAUSE_STORE, Kind.FLUSH_STORE, Kind.ROLL_BACK_STORE})
_ON_BROKER: Final = frozenset({Kind.KILL_BROKER, Kind.PAUSE_BROKER, Kind.WIPE_BROKER, Kind.DUPLICATE})
_LASTING: Final[Mapping[Kind, tuple[float, float]]] = {
    Kind.ROLL_BACK_STORE: (0.2, 2.0),
    **dict.fromkeys((Kind.PAUSE_SERVICE, Kind.PAUSE_STORE, Kind.PAUSE_BROKER, Kind.PAUSE_DEVICES), (0.5, 4.0)),
    Kind.SUCCEED_SERVICE: (3.0, 6.0),
    **dict.fromkeys(ON_WAYS, (0.3, 4.0)),
}
"""How many seconds it lasts, at least and at most; what is not here is done at once."""

_AMOUNTS: Final[Mapping[Kind, tuple[int, int]]] = {
    Kind.CUT_AFTER: (1, 3_000),
    Kind.DELAY: (50, 1_500),
    Kind.REORDER: (100, 1_500),
    Kind.DUPLICATE: (1, 64),
}


@dataclass(frozen=True)
class Places:
    """What there is to be hurt, by name."""

    services: Sequence[str]
    fleets: Sequence[str]
    ways: Sequence[str]


@dataclass(frozen=True)
class Misfortune:
    """One thing that befalls `target`, `at_s` after the beginning and for `lasts_s`.

    `amount` is a number of bytes, of messages, or of milliseconds, as the kind wants it; an odd delay is on the way to
    the server, an even one on the way back.
    """

    at_s: float
    kind: Kind
    target: str
    lasts_s: float = 0.0
    amount: int = 0

    def __str__(self) -> str:
        lasts = f" for {self.lasts_s:g} s" if self.lasts_s else ""
        return f"{self.kind}: {self.target}{lasts}" + (f" ({self.amount})" if self.amount else "")


def schedule(seed: int, seconds: float, places: Places) -> tuple[Misfortune, ...]:
    """All that befalls these places within so many seconds, in the order in which it does: the same for one seed."""
    chance = random.Random(seed)  # noqa: S311  # what befalls whom is no secret
    found = []
    at_s, deck = chance.uniform(0.0, SHORTEST_GAP_S), _dealt(chance)
    while at_s < seconds:
        kind = next(deck)
        low, high = _LASTING.get(kind, (0.0, 0.0))
        found.append(
            Misfortune(
                at_s=round(at_s, 3),
                kind=kind,
                target=_target(chance, kind, places),
                lasts_s=round(chance.uniform(low, high), 3),
                amount=chance.randint(*_AMOUNTS.get(kind, (0, 0))),
            )
        )
        at_s += chance.uniform(SHORTEST_GAP_S, LONGEST_GAP_S)
    return tuple(found)


@dataclass(frozen=True)
class Moment:
    """When a misfortune begins, or else ends."""

    at_s: float
    what: Misfortune
    begins: bool


def moments(misfortunes: Iterable[Misfortune]) -> tuple[Moment, ...]:
    """Beginnings and ends in their order; what does not last has no end."""
    found = [Moment(what.at_s, what, begins=True) for what in misfortunes]
    found += [Moment(one.at_s + one.what.lasts_s, one.what, begins=False) for one in found if one.what.lasts_s]
    return tuple(sorted(found, key=lambda moment: moment.at_s))


def _dealt(chance: random.Random) -> Iterator[Kind]:
    while True:
        yield from chance.sample(tuple(Kind), len(Kind))


def _target(chance: random.Random, kind: Kind, places: Places) -> str:
    return chance.choice(next(named for kinds, named in _targets(places) if kind in kinds))


def _targets(places: Places) -> Iterator[tuple[frozenset[Kind], Sequence[str]]]:
    yield _ON_SERVICES, places.services
    yield _ON_DEVICES, places.fleets
    yield ON_WAYS, places.ways
    yield _ON_STORE, ("store",)
    yield _ON_BROKER, ("broker",)
