"""Lines to the memory broker on which messages may be late, twice or never, and a broker that can die.

A device's line asks `fates` what becomes of each message, going and coming: how many milliseconds until it arrives, for
each time that it does; none if it never does. A broker that takes a message and loses it has acknowledged it first
(FACTS 1), so whoever publishes hears `Sent` in any case.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from random import Random

from mizzle.transport.bus import AckToken, Arrived, BusEvent, Listener, Sent, Will
from mizzle.transport.memory import MemoryBroker, MemoryBus

Fates = Callable[[str], Sequence[int]]
Later = Callable[[int, Callable[[], None]], None]


class Line:
    """A `Bus` of one client, in one life: after `drop` it says nothing more and hears nothing more."""

    def __init__(  # noqa: PLR0913  # what becomes of a message, each way
        self,
        inner: MemoryBus,
        later: Later,
        going: Fates,
        coming: Fates,
        *,
        heard: Callable[[], None],
        reach: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.inner, self._later, self._going, self._coming = inner, later, going, coming
        self._heard, self._reach = heard, reach
        self._listener: Listener | None = None
        self._lost = count(-1, -1)
        self._connections = 0

    def open(self, listener: Listener) -> None:
        self._listener = listener
        self.inner.open(self._listen)

    def publish(
        self, topic: str, body: bytes, *, retain: bool = False, content_type: str = "", lasting: bool = True
    ) -> int:
        self._reach("before publish")
        number = self._publish(topic, body, retain=retain, content_type=content_type, lasting=lasting)
        self._reach("after publish")
        return number

    def subscribe(self, topic_filter: str) -> None:
        self.inner.subscribe(topic_filter)

    def unsubscribe(self, topic_filter: str) -> None:
        self.inner.unsubscribe(topic_filter)

    def ack(self, token: AckToken) -> None:
        self._reach("before ack")
        self.inner.ack(token)
        self._reach("after ack")

    def close(self) -> None:
        self.inner.close()

    def drop(self) -> None:
        """The process at this end is dead."""
        self._listener = None

    def _publish(self, topic: str, body: bytes, *, retain: bool, content_type: str, lasting: bool) -> int:
        fates = self._going(topic)
        say = partial(self.inner.publish, topic, body, retain=retain, content_type=content_type, lasting=lasting)
        numbers = [say() for delay in fates if not delay]
        for delay in filter(None, fates):
            self._later(delay, partial(_say, say))
        if numbers:
            return numbers[0]
        number = next(self._lost)
        self._tell(Sent(topic, number, 0))
        return number

    def _listen(self, event: BusEvent) -> None:
        if not isinstance(event, Arrived):
            self._connections += 1
            return self._tell(event)
        for delay in self._coming(event.topic):
            if delay and event.token is None:
                self._later(delay, partial(self._tell, event))
            else:
                self._tell(event)
        return None

    def _tell(self, event: BusEvent) -> None:
        if self._listener is not None:
            self._listener(event)
            self._heard()


def _say(say: Callable[[], int]) -> None:
    say()


def calm(_topic: str) -> Sequence[int]:
    """Every message arrives once, at once."""
    return (0,)


def connect(broker: MemoryBroker, client: str, *, will: Will | None = None, manual_ack: bool = False) -> MemoryBus:
    """A line that is let in again, whoever held it before."""
    broker.mend(client)
    return MemoryBus(broker, client, will=will, receive_maximum=200, manual_ack=manual_ack)


def vanish(broker: MemoryBroker, bus: MemoryBus) -> None:
    """The client is gone without a word: the broker says its will, and nothing of its end stays."""
    if broker.is_up(bus):
        broker.cut(bus.client_id)
    broker.leave(bus)
    broker.mend(bus.client_id)


def die(broker: MemoryBroker, chance: Random, *, sessions: bool, queues: bool, retained: bool) -> None:
    """The broker is killed and comes back, without what its disk did not have; clients come back in any order."""
    buses = list(broker._buses.values())
    for bus in buses:
        broker.disconnect(bus, "the broker died")
    for client in list(broker._sessions) if sessions else ():
        broker.forget(client)
    for session in broker._sessions.values() if queues else ():
        session.waiting.clear()
        session.unacked.clear()
    if retained:
        broker._retained.clear()
    chance.shuffle(buses)
    for bus in buses:
        broker.connect(bus)
