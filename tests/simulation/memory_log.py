"""Redis as a service's log sees it, in memory: the same words and the same refusals, and it can be made to forget.

`MemoryStore` is what a Redis holds; `MemoryLog` is a service's line to it. `tests/services/runtime/test_logs.py` holds
both this and `RedisLog` to the same sentences. What only the simulation may do: `empty` it, set it `back` by so many
commits, and take it `away` for a while.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from mizzle.errors import Away, Fenced
from services.pipeline import DEAD, Hop, readers
from services.runtime.redis_log import (
    BEGINNING,
    MOST_LETTERS,
    MOST_WAITING,
    Entry,
    Full,
    Output,
    Place,
    _bounded,
)

Id = tuple[int, int]


@dataclass
class Stream:
    """Entries in the order of their ids, and the last id that was ever given."""

    entries: deque[tuple[Id, bytes]] = field(default_factory=deque)
    last: Id = (0, 0)

    def add(self, now: int, body: bytes) -> None:
        """Append under the next id: the time, or what follows the last id where the clock is behind it."""
        ms, number = self.last
        self.last = (now, 0) if now > ms else (ms, number + 1)
        self.entries.append((self.last, body))

    def trim(self, lowest: Id) -> None:
        """Forget what lies before `lowest`."""
        while self.entries and self.entries[0][0] < lowest:
            self.entries.popleft()


@dataclass
class Held:
    """What a place in Redis holds; no epoch at all where nobody took it."""

    epoch: int | None = None
    version: int = 0
    state: bytes | None = None
    cursors: dict[str, str] = field(default_factory=dict)


@dataclass
class Kept:
    """All that the store holds."""

    places: dict[str, Held] = field(default_factory=dict)
    streams: dict[str, Stream] = field(default_factory=dict)
    tries: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def copied(self) -> "Kept":
        """The same, and unmoved by what becomes of this one; what is within an entry or a state never changes."""
        places = {name: replace(held, cursors=dict(held.cursors)) for name, held in self.places.items()}
        streams = {name: Stream(deque(one.entries), one.last) for name, one in self.streams.items()}
        return Kept(places, streams, dict(self.tries))


@dataclass
class MemoryStore:
    """A Redis: `now` is its clock, `heard` is told which stream grows, `remembers` is how far it can go back."""

    now: Callable[[], int]
    heard: Callable[[str], None] = lambda _: None
    remembers: int = 0
    is_away: bool = False
    fences: bool = True
    kept: Kept = field(default_factory=Kept)
    past: deque[Kept] = field(default_factory=deque)
    pulses: dict[str, int] = field(default_factory=dict)

    def empty(self) -> None:
        """Forget everything, as a Redis without a file does when it is killed."""
        self.kept = Kept()
        self.past.clear()

    def back(self, commits: int) -> None:
        """Be what it was so many writes ago, or as long ago as is remembered."""
        for _ in range(min(commits, len(self.past))):
            self.kept = self.past.pop()

    def about_to_write(self) -> None:
        """Remember how things stand."""
        if self.remembers:
            self.past.append(self.kept.copied())
            while len(self.past) > self.remembers:
                self.past.popleft()

    def place(self, service: str) -> Held:
        """What this service's place holds."""
        return self.kept.places.setdefault(service, Held())

    def stream(self, name: str) -> Stream:
        """The stream of this name."""
        return self.kept.streams.setdefault(name, Stream())

    def say(self, outputs: Sequence[Output]) -> None:
        """Write entries; all of them have room."""
        for output in outputs:
            stream = self.stream(output.stream)
            stream.add(self.now(), output.body)
            while len(stream.entries) > MOST_LETTERS.get(output.stream, len(stream.entries)):
                stream.entries.popleft()
        for name in dict.fromkeys(output.stream for output in outputs):
            self.heard(name)


class MemoryLog:
    """The streams of one hop in a `MemoryStore`, and its own place among them."""

    def __init__(self, store: MemoryStore, hop: Hop, most_waiting: int = MOST_WAITING) -> None:
        """A log for `hop`; it waits for nobody, since whoever is read from is in the same thread."""
        self._store, self._hop, self._most_waiting = store, hop, most_waiting

    def take(self, epoch: int) -> Place:
        """As `Log.take`."""
        self._refuse_away()
        held = self._store.place(self._hop.service)
        if held.epoch is not None and held.epoch > epoch:
            raise Fenced(f"{self._hop.service} is held by epoch {held.epoch}, ours is {epoch}")
        self._store.about_to_write()
        held = self._store.place(self._hop.service)
        held.epoch, held.version = epoch, held.version + 1
        cursors = {name: held.cursors.get(name, BEGINNING) for name in self._hop.reads}
        return Place(epoch=epoch, version=held.version, state=held.state, cursors=cursors)

    def read(self, cursors: Mapping[str, str], count: int, wait_ms: int) -> list[Entry]:
        """As `Log.read`, and returns at once."""
        del wait_ms
        self._refuse_away()
        return _bounded(entry for name in self._hop.reads for entry in self._after(name, cursors[name], count))

    def commit(
        self, place: Place, state: bytes | None, cursors: Mapping[str, str], outputs: Sequence[Output] = ()
    ) -> Place:
        """As `Log.commit`."""
        self._refuse_away()
        held = self._store.place(self._hop.service)
        if self._store.fences and (held.epoch, held.version) != (place.epoch, place.version):
            raise Fenced(f"the state was replaced by epoch {held.epoch or 'none'}, version {held.version}")
        self._refuse_full(outputs)
        self._store.about_to_write()
        held = self._store.place(self._hop.service)
        held.version = place.version + 1
        held.state = held.state if state is None else state
        held.cursors.update(cursors)
        self._store.say(outputs)
        for name in self._hop.reads:
            places = [self._store.place(service) for service in readers(name)]
            self._store.stream(name).trim(min(parsed(one.cursors.get(name, BEGINNING)) for one in places))
        return replace(place, version=held.version, state=state or place.state, cursors=dict(cursors))

    def append(self, outputs: Sequence[Output]) -> None:
        """As `Log.append`."""
        self._refuse_away()
        if outputs:
            self._refuse_full(outputs)
            self._store.about_to_write()
            self._store.say(outputs)

    def holder(self) -> int:
        """As `Log.holder`."""
        return self.fence()[0]

    def fence(self) -> tuple[int, int]:
        """As `Log.fence`."""
        self._refuse_away()
        held = self._store.place(self._hop.service)
        return held.epoch or 0, held.version

    def tries(self, entry: Entry) -> int:
        """As `Log.tries`."""
        self._refuse_away()
        tries, key = self._store.kept.tries, (self._hop.service, entry.stream, entry.id)
        tries[key] = tries.get(key, 0) + 1
        return tries[key]

    def forget(self, entry: Entry) -> None:
        """As `Log.forget`."""
        self._refuse_away()
        self._store.kept.tries.pop((self._hop.service, entry.stream, entry.id), None)

    def dead(self, entry: Entry, service: str, why: str) -> Output:
        """As `Log.dead`."""
        letter = {"stream": entry.stream, "entry": entry.id, "service": service, "why": why, "body": entry.body}
        return Output(DEAD, msgspec.msgpack.encode(letter))

    def beat(self, at: int, behind: Mapping[str, str]) -> None:
        """As `Log.beat`."""
        del behind
        self._refuse_away()
        self._store.pulses[self._hop.service] = at

    def _after(self, name: str, cursor: str, count: int) -> list[Entry]:
        found, after = list[Entry](), parsed(cursor)
        for entry, body in self._store.stream(name).entries:
            if entry > after:
                found.append(Entry(name, f"{entry[0]}-{entry[1]}", body))
                if len(found) == count:
                    break
        return found

    def _refuse_full(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            full = len(self._store.stream(output.stream).entries) >= self._most_waiting
            if full and output.stream not in MOST_LETTERS:
                raise Full(f"{output.stream} takes no more entries: its readers are behind")

    def _refuse_away(self) -> None:
        if self._store.is_away:
            raise Away(f"the memory store does not serve {self._hop.service}")


def parsed(entry: str) -> Id:
    """An entry's id as it sorts."""
    ms, _, number = entry.partition("-")
    return int(ms), int(number)
