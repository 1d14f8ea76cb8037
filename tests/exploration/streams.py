"""Redis as a value: places and streams, with the rules of `services.runtime.redis_log`, one function each.

`test_streams.py` holds these rules to the real scripts on a real Redis. Streams that nobody reads here are not kept.
Entries are numbered; the entry n of the real thing is `n-0`. Emptied, Redis goes on counting, as its clock does.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mizzle.errors import Fenced
from services.pipeline import FLOW, readers

SERVICES = ("gateway", "anomaly_detector", "privacy_accountant", "aggregator", "releaser")
"""Those who are explored, in the order in which a fair world lets them turn."""

READS = {place.service: place.reads for place in FLOW if place.service in SERVICES}
NAMES = tuple(sorted({name for reads in READS.values() for name in reads}))


class Held(NamedTuple):
    """What a service has committed; `cursors` are in the order of what it reads."""

    epoch: int
    version: int
    state: bytes | None
    cursors: tuple[int, ...]


class Line(NamedTuple):
    """A stream: what somebody has still to read, and the number of its newest entry."""

    entries: tuple[tuple[int, bytes], ...] = ()
    last: int = 0


class Streams(NamedTuple):
    """All of Redis: a place for each service, and a line for each name."""

    places: tuple[Held | None, ...] = (None,) * len(SERVICES)
    lines: tuple[Line, ...] = (Line(),) * len(NAMES)


Fence = Callable[[Held | None, int, int], bool]
"""Whether a commit of (epoch, version) may replace what is held."""


def fenced(held: Held | None, epoch: int, version: int) -> bool:
    """The rule of the commit script: both are those of the state that is replaced."""
    return held is not None and (held.epoch, held.version) == (epoch, version)


def place(streams: Streams, service: str) -> Held | None:
    """What the service has committed."""
    return streams.places[SERVICES.index(service)]


def take(streams: Streams, service: str, epoch: int) -> tuple[Streams, Held]:
    """Hold the place under this epoch, and see what is there; Fenced if a newer one holds it."""
    held = place(streams, service)
    if held is not None and held.epoch > epoch:
        raise Fenced(f"{service} is held by epoch {held.epoch}, ours is {epoch}")
    if held is None:
        held = Held(epoch, 0, None, (0,) * len(READS[service]))
    taken = held._replace(epoch=epoch, version=held.version + 1)
    return _placed(streams, service, taken), taken


def read(streams: Streams, cursors: Mapping[str, int], count: int) -> tuple[tuple[str, int, bytes], ...]:
    """At most `count` entries of each stream after its cursor."""
    return tuple(
        (name, number, body)
        for name, cursor in cursors.items()
        for number, body in [entry for entry in streams.lines[NAMES.index(name)].entries if entry[0] > cursor][:count]
    )


def commit(  # noqa: PLR0913, PLR0917  # what the script is given
    streams: Streams,
    service: str,
    fence: tuple[int, int],
    state: bytes | None,
    cursors: Mapping[str, int],
    outputs: Sequence[tuple[str, bytes]],
    allows: Fence = fenced,
) -> Streams:
    """Replace what is remembered, write the outputs and trim what all have read; Fenced, and nothing, otherwise."""
    held = place(streams, service)
    if not allows(held, *fence):
        raise Fenced(f"the state was replaced by {held[:2] if held else 'nobody'}, ours is {fence}")
    committed = Held(fence[0], fence[1] + 1, state, tuple(cursors[name] for name in READS[service]))
    return _trimmed(append(_placed(streams, service, committed), outputs), READS[service])


def append(streams: Streams, outputs: Sequence[tuple[str, bytes]]) -> Streams:
    """Write what needs no fence."""
    lines = list(streams.lines)
    for name, body in outputs:
        if name in NAMES:
            entries, last = lines[NAMES.index(name)]
            lines[NAMES.index(name)] = Line((*entries, (last + 1, body)), last + 1)
    return streams._replace(lines=tuple(lines))


def emptied(streams: Streams) -> Streams:
    """FLUSHALL: nothing is held; entries that come are newer than all that there were."""
    return Streams(lines=tuple(Line((), last) for _, last in streams.lines))


def _placed(streams: Streams, service: str, held: Held) -> Streams:
    at = SERVICES.index(service)
    return streams._replace(places=(*streams.places[:at], held, *streams.places[at + 1 :]))


def _trimmed(streams: Streams, names: Sequence[str]) -> Streams:
    lines = list(streams.lines)
    for name in names:
        lowest = min(_cursor(streams, service, name) for service in readers(name))
        entries, last = lines[NAMES.index(name)]
        lines[NAMES.index(name)] = Line(tuple(entry for entry in entries if entry[0] >= lowest), last)
    return streams._replace(lines=tuple(lines))


def _cursor(streams: Streams, service: str, name: str) -> int:
    held = place(streams, service)
    return held.cursors[READS[service].index(name)] if held else 0
