"""The one loop: read entries, fold them into the state, book, commit, say; and again, for ever.

    resume  take a new epoch from the ledger, then our state from Redis (or begin with none), then hear the ledger's
            facts again
    turn    read a batch, step through it and through one tick, book in the ledger, then commit state, cursors and
            outputs at once

Two stores, one order: first the ledger, then Redis. A crash between the two heals by replay, because everything that a
service does is keyed by what it is about, and what the ledger answers is a function of its rows. When a commit is
refused, what we remember is not so: everything in memory is thrown away and the stage resumes.
"""

from __future__ import annotations

import hashlib
import random
import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import structlog

from mizzle.codec import decode_between_services, encode
from mizzle.errors import Away, Fenced, Misconfigured, Superseded, Unreadable
from mizzle.failpoints import failpoint
from mizzle.messages import (
    Abandonment,
    Candidate,
    Message,
    Received,
    Release,
    Window,
    refers_to,
)
from mizzle.moves import Ground, Moved, Tick, Told
from mizzle.transport.clock import tick
from services.ledger.engine import Damaged
from services.pipeline import hears
from services.runtime import about
from services.runtime.about import in_hand
from services.runtime.metrics import Meters
from services.runtime.poison import came_from_outside, message_in, refusals
from services.runtime.redis_log import Entry, Output, Place
from services.runtime.service import Booking, Service, Stores
from services.runtime.states import recalled, remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


S = TypeVar("S")

WAIT_MS: Final = 100
MOST_TRIES: Final = 3
TAKEN_ALONE: Final = "alone"
PULSE_MS: Final = 1000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0

_RESUME: Final = (
    "Put the newest one back (services.ledger restore), or say how far the world has come: services.ledger resume"
)

_log = structlog.get_logger()


@dataclass
class _Work(Generic[S]):
    """What one batch has come to so far."""

    state: S
    said: list[Message] = field(default_factory=list)
    booked: list[Booking] = field(default_factory=list)
    kept: list[bytes] = field(default_factory=list)

    def take(self, moved: Moved[S], told: Told | None, entry: Entry | None) -> None:
        attached = told.attached if told else {}
        self.state = moved.state
        self.said += moved.said
        self.kept += moved.kept
        for note in moved.noted:
            _log.error("a plug-in misbehaved", why=note)
        self.booked += [
            Booking(Told(message, attached), entry.stream if entry else "", entry.id if entry else "")
            for message in moved.booked
        ]


class Stage(Generic[S]):
    """One service at work."""

    def __init__(  # noqa: PLR0913  # the last two have good defaults
        self,
        service: Service[S],
        ground: Ground,
        stores: Stores,
        batch: int,
        meters: Meters | None = None,
        *,
        clock: Callable[[], Tick] = tick,
    ) -> None:
        """A stage that has not begun: nothing is read or written yet. `clock` gives it the time, and chance with it."""
        self._meters, self._clock = meters or Meters(), clock
        self._service, self._ground, self._stores, self._batch = service, ground, stores, batch
        self._state: S = service.begin(ground)
        self._place = Place(epoch=0, version=0)
        self._cursors: Mapping[str, str] = {}
        self._uncommitted = 0
        self._careful = 0
        self._blameless: tuple[str, str] | None = None
        self._beaten = 0

    def run(self, stopping: Callable[[], bool]) -> None:
        """Turn until `stopping()`; a store that is away is waited for, a lost fence means to begin again.

        Raises:
            Superseded: a successor has this place; this process has nothing left to do.
            Misconfigured: the ledger is older than what Redis knows.
        """
        for pause_s in self.turns(stopping):
            _pause(pause_s * random.uniform(0.5, 1.5), stopping)  # noqa: S311  # jitter, no secret

    def turns(self, stopping: Callable[[], bool]) -> Iterator[float]:
        """The same one turn at a time, for whoever has its own idea of time: after each, the seconds to wait.

        Raises:
            Superseded: as `run`.
        """
        pause_s = _FIRST_PAUSE_S
        while not stopping():
            try:
                self._resume()
                while not stopping():
                    self._turn()
                    pause_s = _FIRST_PAUSE_S
                    yield 0.0
                self._rest()
            except Superseded:
                raise
            except Away as away:
                _log.warning("begin again", why=str(away), seconds=pause_s)
                yield pause_s
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)

    def _resume(self) -> None:
        in_hand(None)
        with failpoint("epoch-issue"):  # whoever began again without asking who came since would throw that one out
            self._place = Place(epoch=self._stores.issue_epoch(self._place.epoch), version=0)
        with failpoint("place-take"):
            self._place = self._taken(self._place.epoch)
        self._cursors = self._place.cursors
        self._uncommitted = 0
        self._careful = max(self._careful, self._service.hop.holds_back, self._batch)
        fresh = self._service.begin(self._ground)
        self._state = recalled(self._place.state, fresh)
        heard = hears(self._service.hop)
        work = _Work(self._state)
        for fact in self._stores.facts():
            if type(fact) in heard:
                told = self._told(fact)
                work.take(self._service.step(self._ground, work.state, told), told, None)
        self._sweep()  # before the commit, which tells us if somebody has come after us meanwhile
        self._settle(work, self._cursors)
        self._meters.begun()

    def _taken(self, epoch: int) -> Place:
        """Our place in this epoch, which the ledger has just issued.

        Raises:
            Fenced: a successor has the place.
            Misconfigured: somebody has it in an epoch that the ledger never issued, so the ledger is an older one.
        """
        try:
            return self._stores.log.take(epoch)
        except Fenced:
            held = self._stores.log.holder()
            if not self._stores.is_older_than(held):
                raise
            service = self._service.hop.service
            text = f"Redis knows epoch {held} of {service}, this ledger had issued {epoch} at most: it is an older one"
            raise Misconfigured(f"{text}, and is marked as restored. {_RESUME}") from None

    def _turn(self) -> None:
        entries = self._stores.log.read(self._cursors, 1 if self._careful else self._batch, WAIT_MS)
        if not self._careful:
            return self._guarded(entries)
        for entry in entries:
            self._careful -= 1
            if self._tries(entry) >= MOST_TRIES and came_from_outside(entry):
                self._bury(entry, f"{self._service.hop.service} could not take it {MOST_TRIES - 1} times")
            else:
                self._alone([entry])
        if not entries:
            self._careful = 0
            self._alone([])
        return None

    def _alone(self, entries: Sequence[Entry]) -> None:
        """Take one entry, or none, and tell the step how often this did not end.

        It is for whoever holds back what it was told, and so does much at once: what kills it each time, for want of
        memory as a rule, would do so for ever.
        """
        if not self._service.hop.holds_back:
            return self._guarded(entries)
        what = Entry(TAKEN_ALONE, entries[0].id if entries else "", b"")
        tries = self._stores.log.tries(what)
        try:
            self._guarded(entries, tries)
        except Fenced:
            raise
        except Away:
            self._stores.log.forget(what)
            raise
        return self._stores.log.forget(what)

    def _tries(self, entry: Entry) -> int:
        """How often this entry was begun, this time included; that a store was away is no fault of the entry's."""
        return 1 if self._blameless == (entry.stream, entry.id) else self._stores.log.tries(entry)

    def _guarded(self, entries: Sequence[Entry], tries: int = 1) -> None:
        try:
            self._take(entries, tries)
        except Away:
            self._blameless = (entries[0].stream, entries[0].id) if entries else None
            raise
        except Damaged:  # no entry is to blame, and none is to be buried for it
            raise
        except Unreadable as error:
            if len(entries) != 1 or not came_from_outside(entries[0]):
                raise Fenced(f"begin again, one entry at a time: {error}") from error
            self._bury(entries[0], str(error))
        except Exception as error:  # the loop's edge: what breaks a step is taken apart, and buried at the third try
            _log.exception("a step failed", entries=len(entries))
            if not entries:
                raise
            self._careful = max(len(entries), self._service.hop.holds_back)
            raise Fenced("a step failed: begin again, one entry at a time") from error

    def _take(self, entries: Sequence[Entry], tries: int) -> None:
        work = _Work(self._state)
        with failpoint("step") if entries else nullcontext():
            self._fold(entries, work)
        moment = replace(self._clock(), tries=tries)
        work.take(self._service.step(self._ground, work.state, moment), None, None)
        cursors = {**self._cursors, **{entry.stream: entry.id for entry in entries}}
        self._uncommitted += len(entries)
        outputs = work.said or work.booked or work.kept
        waits = self._service.hop.holds_back and entries and self._uncommitted < self._service.hop.holds_back
        if outputs or (self._uncommitted and not waits):
            self._settle(work, cursors)
        self._state, self._cursors = work.state, cursors
        self._meters.took(entries)
        self._beat(moment.now)

    def _fold(self, entries: Sequence[Entry], work: _Work[S]) -> None:
        for entry in entries:
            message = decode_between_services(entry.body)
            in_hand(message)
            told = self._told(message)
            work.take(self._service.step(self._ground, work.state, told), told, entry)
        in_hand(None)

    def _settle(self, work: _Work[S], cursors: Mapping[str, str]) -> None:
        """First the blobs, then the ledger, then the world, then Redis: what a crash repeats is the same again."""
        self._keep(work.kept)
        said = list(work.said)
        if self._service.book is not None:
            with failpoint("ledger-book") if work.booked else nullcontext():
                said += self._service.book(self._place.epoch, work.booked)
        else:
            said += [booking.told.message for booking in work.booked]
        spoken = said
        if self._service.tell is not None:
            self._service.tell(said)
            spoken = []
        outputs = [
            Output(stream, encode(message)) for message in spoken for stream in self._service.hop.says[type(message)]
        ]
        self._commit(work.state, cursors, outputs)
        self._state, self._cursors, self._uncommitted = work.state, cursors, 0
        about.told(said)
        self._let_go(work.booked)

    def _let_go(self, booked: Sequence[Booking]) -> None:
        """The blobs of a candidate are the ledger's if it was released, and nobody's if not."""
        ends = [one.told for one in booked if isinstance(one.told.message, Candidate | Abandonment)]
        if ends and self._service.book is not None:
            self._stores.spool.discard_blobs(digest.hex() for told in ends for digest in told.attached)
            self._sweep()

    def _sweep(self) -> None:
        """Let go of what was made of windows that have ended, whatever became of it: the ledger has what was released.

        Only the ledger's one writer may: it alone opens windows. So where none is open after its look at what is there,
        none of that was made of a window that still goes on.
        """
        if self._service.book is not None:
            there = self._stores.spool.blobs()
            if there and not self._stores.has_open_window():
                self._stores.spool.discard_blobs(there)

    def _keep(self, blobs: list[bytes]) -> None:
        """Give the blobs to the store and hold them no longer: the state's bytes are about to need the room."""
        while blobs:
            blob = blobs.pop()
            with failpoint("blob-store"):
                self._stores.spool.put_blob(hashlib.sha256(blob).digest(), blob)

    def _commit(self, state: S, cursors: Mapping[str, str], outputs: Sequence[Output] = ()) -> None:
        """Replace what is remembered; its bytes are not held on to, because we have the state itself."""
        with failpoint("stream-commit"):
            place = self._stores.log.commit(self._place, remembered(state), cursors, outputs)
        self._place = replace(place, state=None)

    def _bury(self, entry: Entry, why: str) -> None:
        in_hand(message_in(entry))
        _log.error("dead letter", stream=entry.stream, entry=entry.id, why=why)
        outputs = [self._stores.log.dead(entry, self._service.hop.service, why)]
        outputs += [Output("refused", encode(refusal)) for refusal in refusals(entry, self._service.hop, why)]
        cursors = {**self._cursors, entry.stream: entry.id}
        self._commit(self._state, cursors, outputs)
        self._cursors = cursors
        self._meters.buried(entry)

    def _told(self, message: Message) -> Told:
        if type(message) not in self._service.hop.reads_payload:
            return Told(message)
        found = {key: self._bytes_of(message, key) for key in refers_to(message)}
        return Told(message, {key: body for key, body in found.items() if body is not None})

    def _bytes_of(self, message: Message, key: bytes) -> bytes | None:
        """What lies under `key`; no bytes at all are bytes too, and None only where nothing is known of it.

        The store's files are not flushed, so a loss of power may leave one cut short: it is as if there were none.
        """
        body = self._stores.spool.get(key)
        return self._stores.blob(key) if body is None or not _is_whole(message, key, body) else body

    def _beat(self, now: int) -> None:
        if 0 <= now - self._beaten < PULSE_MS:  # a clock that was set back a day must not silence us for one
            return
        self._beaten = now
        # A loop that has nothing to commit would notice no successor, no Redis that has forgotten, and none that went
        # back in time, whose next entries may have the ids of some that we have read.
        epoch, version = self._stores.log.fence()
        if (epoch, version) != (self._place.epoch, self._place.version):
            held = f"{self._service.hop.service} is held by epoch {epoch or 'none'}, version {version}"
            raise Fenced(f"{held}; ours are epoch {self._place.epoch}, version {self._place.version}")
        if self._stores.is_another():
            service = self._service.hop.service
            text = f"the ledger is not the one that {service} began with: it was marked as restored, or replaced"
            raise Superseded(f"{text}. What {service} remembers may be of a lost one: start again")
        if self._service.is_well():
            self._stores.log.beat(now, self._cursors)

    def _rest(self) -> None:
        """Commit what was held back, so that a successor need not read it again."""
        if self._uncommitted:
            self._commit(self._state, self._cursors)
            self._uncommitted = 0


def _is_whole(message: Message, key: bytes, body: bytes) -> bool:
    """Whether the bytes are those that the message is about, as far as it says; a payload's hash costs too much."""
    match message:
        case Received(update=update):
            return len(body) == update.payload.size
        case Window() | Release():
            return hashlib.sha256(body).digest() == key
        case _:
            return True


def _pause(seconds: float, stopping: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not stopping():
        time.sleep(min(left, 0.1))
