"""The plainest numbers that tell the same: what is only ever compared is counted from one again.

Epochs and versions are compared with those of one place, an entry's number with cursors. So many worlds that differ
in how often somebody began are one, and there are few enough to visit them all. What a stopped process has in its hands
is in older numbers, so where one is stopped its service's numbers stay; and those of the streams that the accountant
reads, because the ledger remembers them.
"""

from collections.abc import Sequence

from tests.exploration.streams import NAMES, READS, SERVICES, Held, Line, Streams
from tests.exploration.turns import Memory

ACCOUNTANT = "privacy_accountant"
Memories = tuple[Memory | None, ...]
Epochs = tuple[int, ...]


def plain(
    streams: Streams, memories: Memories, epochs: Epochs, stopped: str | None
) -> tuple[Streams, Memories, Epochs]:
    """The same in its plainest numbers; `stopped` is the service of which a process was stopped."""
    kept = {name for name in NAMES if name in READS[ACCOUNTANT] or (stopped and name in READS[stopped])}
    ours = [
        (held, memory, epoch) if service == stopped else _recounted(held, memory, epoch)
        for service, held, memory, epoch in zip(SERVICES, streams.places, memories, epochs, strict=True)
    ]
    lines = dict(zip(NAMES, streams.lines, strict=True))
    places, plainer = [], []
    for service, (held, memory, _) in zip(SERVICES, ours, strict=True):
        names = READS[service]
        places.append(held and held._replace(cursors=tuple(map(_rank, _of(lines, names, kept), held.cursors))))
        plainer.append(memory and _moved(memory, lines, kept))
    renumbered = tuple(line if name in kept else _renumbered(line) for name, line in lines.items())
    return Streams(tuple(places), renumbered), tuple(plainer), tuple(epoch for *_, epoch in ours)


def _recounted(held: Held | None, memory: Memory | None, epoch: int) -> tuple[Held | None, Memory | None, int]:
    """Place, memory and newest epoch, counted from one if nothing is told by the counts."""
    if memory is None:
        return held and held._replace(epoch=1, version=1), None, 1
    if held is not None and (held.epoch, held.version) != (memory.epoch, memory.version):
        return held, memory, epoch
    newest = 1 if epoch == memory.epoch else 2
    return held and held._replace(epoch=1, version=1), memory._replace(epoch=1, version=1), newest


def _of(lines: dict[str, Line], names: Sequence[str], kept: set[str]) -> list[Line | None]:
    return [None if name in kept else lines[name] for name in names]


def _rank(line: Line | None, number: int) -> int:
    """How many entries are not behind this number; the number itself where there is no line."""
    return number if line is None else sum(one <= number for one, _ in line.entries)


def _renumbered(line: Line) -> Line:
    return Line(tuple((at, body) for at, (_, body) in enumerate(line.entries, 1)), len(line.entries))


def _moved(memory: Memory, lines: dict[str, Line], kept: set[str]) -> Memory:
    """The memory with its cursors among the renumbered entries."""
    cursors = tuple(
        (name, entry if name in kept else f"{_rank(lines[name], int(entry.partition('-')[0]))}-0")
        for name, entry in memory.cursors
    )
    return memory._replace(cursors=cursors)
