"""What devices publish, on its way from the bus to the streams, in a thread of its own.

    bus ─▶ queue ─▶ a batch: look up keys, receive, store parts and payloads, append messages, answer, then acknowledge

Nothing is acknowledged before the streams have it, and no part of an incomplete update before it is stored. A payload
store or stream that is full, or away, is waited for with everything in hand; meanwhile the bus stops reading its
socket, so that the broker waits, and through it the devices.
Nothing is dropped for want of room.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import structlog

from mizzle.codec import encode
from mizzle.envelope import FIXED
from mizzle.errors import Away
from mizzle.failpoints import failpoint
from mizzle.messages import Unauthenticated
from mizzle.topics import Up, to
from mizzle.transport import clock
from mizzle.transport.bus import Arrived, Connected, Disconnected
from mizzle.vocabulary import MOST_SENTENCE
from services.gateway.receive import (
    NOBODY,
    Arrivals,
    Came,
    Probed,
    Reply,
    Taken,
    answered,
    expired,
    receive,
    resume,
    sender,
)
from services.pipeline import STRAY
from services.runtime import about
from services.runtime.metrics import Meters
from services.runtime.payloads import SpoolFull
from services.runtime.redis_log import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mizzle.messages import Message
    from mizzle.transport.bus import Bus, BusEvent
    from services.gateway.comings import Comings
    from services.gateway.heartbeat import Heartbeat
    from services.pipeline import Hop
    from services.runtime.log import Appends
    from services.runtime.payloads import Spool

RECEIVE_MAXIMUM: Final = 400
RECEIVE_BYTES: Final = 32 * 1024 * 1024
"""It is 340 chunks: so few of the longest lie unacknowledged, and three full batches of short ones."""

BATCH: Final = 128
LINGER_S: Final = 0.02
"""So long a batch that is not full waits for more: what comes together goes together through every service behind us,
and a transaction of the ledger costs by itself as much as twenty updates in it.
"""

_WAIT_S: Final = 0.2
_PREFIX: Final = 36  # what an envelope, or a later part, begins with before anything that was signed or learned
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 1.0

T = TypeVar("T")


def letter(arrived: Arrived, taken: Taken) -> bytes:
    """The dead letter of a message that was not taken: where it came, why it ended, how it begins and how long it is.

    It begins with as much as an envelope has before its header; nobody sends megabytes into our memory by this.
    """
    came = {"topic": arrived.topic, "size": len(arrived.body), "begins": arrived.body[:FIXED]}
    return msgspec.msgpack.encode({"reason": taken.reason, "why": taken.why[:MOST_SENTENCE], **came})


_log = structlog.get_logger()


class Inbox:
    """What the bus has brought and nobody has taken yet; the bus bounds it by what it leaves unacknowledged.

    It is taken in batches of at most `most`; one that is not full waits for more, `linger_s` at most.
    """

    def __init__(self, most: int = BATCH, linger_s: float = LINGER_S) -> None:
        self._most, self._linger_s = most, linger_s
        self._changed = threading.Condition()
        self._waiting: deque[Arrived] = deque()

    def listen(self, event: BusEvent) -> None:
        """Hear from the bus what devices publish."""
        with self._changed:
            match event:
                case Connected(session_present=known):
                    if not known:
                        _log.warning(
                            "the broker knows no session of ours: what it may have held comes from devices again"
                        )
                    # What an older connection brought cannot be acknowledged any more: broker or device sends it again.
                    self._waiting.clear()
                case Disconnected(why=why):
                    _log.warning("the line to the broker is down", why=why)
                case Arrived(topic=topic, token=token) if token is not None and "/up/" in topic:
                    # Without a token it came at QoS 0, which promises nothing and which nothing bounds.
                    self._waiting.append(event)
                    if len(self._waiting) in {1, self._most}:  # whoever waits is not to wake for each
                        self._changed.notify()

    def next(self, wait_s: float) -> list[Arrived]:
        """A batch of what came, oldest first; waits for the first of it, `wait_s` at most."""
        with self._changed:
            if self._changed.wait_for(lambda: self._waiting, wait_s):
                self._changed.wait_for(lambda: len(self._waiting) >= self._most, self._linger_s)
            return [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]


def _doze(seconds: float) -> None:
    time.sleep(seconds * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, no secret


@dataclass
class _Hand:
    """A batch that is on its way, oldest first; the first `stored` of it have what is to be kept of them in the store.

    Whoever tries again after a stream was away begins behind them: a part is appended to its device's file, so storing
    it once more would make the file grow with every try.
    """

    waiting: deque[tuple[Arrived, Taken]]
    stored: int = 0


@dataclass(frozen=True)
class Intake:
    """Takes what devices publish to the streams.

    `key_of` gives an enrolled device's key, and None for any other; `receipt_of` the receipt of an update that has
    ended. `say` publishes an answer to a probe: nobody waits for it, since the device will ask again. `now` is the
    clock it goes by, `sleep` how it waits about so many seconds for a store.
    """

    bus: Bus
    inbox: Inbox
    heartbeat: Heartbeat
    hop: Hop
    arrivals: Arrivals
    key_of: Callable[[str], bytes | None]
    receipt_of: Callable[[bytes], bytes | None]
    say: Callable[[str, bytes], object]
    comings: Comings
    spool: Spool
    log: Appends
    meters: Meters = field(default_factory=Meters)
    now: Callable[[], int] = clock.now
    sleep: Callable[[float], None] = _doze

    def run(self, stopping: Callable[[], bool]) -> None:
        """Take batch after batch until `stopping()`; what is then in hand and not on a stream comes again."""
        self._patiently(self.resume, stopping)
        while not stopping():
            self.turn(_WAIT_S, stopping)

    def turn(self, wait_s: float, stopping: Callable[[], bool]) -> None:
        """Take what has come, or wait so long for the first of it."""
        self.heartbeat.beat()
        if batch := self.inbox.next(wait_s):
            self._take(batch, stopping)
        else:
            self.comings.end(*expired(self.arrivals, self.now()))

    def resume(self) -> None:
        """Go on with the incomplete updates of the gateway before us."""
        now = self.now()
        self.comings.resume(lambda device, stored: resume(self.arrivals, device, self.key_of(device), stored, now))
        self.comings.end(*expired(self.arrivals, now))

    def _take(self, batch: Sequence[Arrived], stopping: Callable[[], bool]) -> None:
        came = self._patiently(lambda: [self._came(arrived) for arrived in batch], stopping)
        if came is None:
            return
        with failpoint("message"):
            hand = _Hand(deque(zip(batch, [self._received(one) for one in came], strict=True)))
        for _, taken in hand.waiting:
            self.meters.unauthenticated.update(one.reason for one in taken.said if isinstance(one, Unauthenticated))
            if taken.counted:
                self.meters.unauthenticated[taken.reason] += 1
            elif taken.reason:
                _log.info("not taken", reason=taken.reason, why=taken.why)
        said = [message for _, taken in hand.waiting for message in taken.said]
        self._patiently(lambda: self._write(hand), stopping)
        about.told(said)

    def _came(self, arrived: Arrived) -> Came:
        topic = sender(arrived.topic)
        key = None if topic is None or topic.kind is Up.ENROL else self.key_of(topic.device)
        return Came(arrived.topic, arrived.body, key, self.now())

    def _received(self, came: Came) -> Taken:
        try:
            return receive(self.arrivals, came)
        except Exception:  # noqa: BLE001  # the loop's edge: unacknowledged, it would break every gateway after this
            _log.exception(
                "a message broke the intake", topic=came.topic, size=len(came.body), begins=came.body[:_PREFIX].hex()
            )
            stranger = Unauthenticated(device=NOBODY, reason="unreadable")
            return Taken((stranger,), reason="unreadable", why="it broke the intake: see the gateway's log")

    def _outputs(self, arrived: Arrived, taken: Taken) -> Iterator[Output]:
        for message in taken.said:
            yield from self._says(message)
        if taken.is_stray:
            yield Output(STRAY, letter(arrived, taken))

    def _says(self, message: Message) -> Iterator[Output]:
        for stream in self.hop.says[type(message)]:
            yield Output(stream, encode(message))

    def _reply(self, probed: Probed) -> Reply:
        """The answer to a probe, by what ledger and store know now."""
        update = probed.received.id
        size = probed.received.update.payload.size
        return answered(probed, self.receipt_of(update), is_stored=self.spool.size(update) == size)

    def _write(self, hand: _Hand) -> None:
        """Store, append, acknowledge: what this is done for leaves the hand, also where there is no room for the rest.

        It must, because only what leaves here can end, and only what has ended makes room.
        """
        full = self._store(hand)
        stored = list(islice(hand.waiting, hand.stored))
        outputs = [output for came in stored for output in self._outputs(*came)]
        replies = [self._reply(taken.probed) for _, taken in stored if taken.probed]
        outputs += [output for reply in replies for message in reply.said for output in self._says(message)]
        with failpoint("xadd"):
            self.log.append(outputs)
        for reply in replies:
            self.say(to(self.arrivals.federation, reply.device, reply.kind), reply.body)
        for arrived, _ in stored:
            hand.waiting.popleft()
            hand.stored -= 1
            if arrived.token:
                with failpoint("mqtt-ack"):
                    self.bus.ack(arrived.token)
        if full:
            raise full

    def _store(self, hand: _Hand) -> SpoolFull | None:
        """Store what is to be kept of those that no earlier try has stored; why not of all, if there is no room."""
        for _, taken in islice(hand.waiting, hand.stored, None):
            try:
                self._keep(taken)
            except SpoolFull as full:
                return full
            hand.stored += 1
        return None

    def _keep(self, taken: Taken) -> None:
        """Store the payload, then forget the parts that it was made of: a crash in between keeps both."""
        if taken.part:
            self.comings.end(*taken.ended)
            self.comings.add(taken.part)
            return
        if taken.payload:
            with failpoint("payload-store"):
                self.spool.put(taken.payload.id, taken.payload.body)
        self.comings.end(*taken.ended)

    def _patiently(self, act: Callable[[], T], stopping: Callable[[], bool]) -> T | None:
        """What `act` gives, once no store is away or full any more; None if we are to stop."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return act()
            except Away as away:
                if stopping():
                    return None
                _log.warning("the intake waits", why=str(away), seconds=pause_s)
            self.heartbeat.beat()
            self.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
