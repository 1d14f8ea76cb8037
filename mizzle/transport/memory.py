"""A broker and its buses within one process: the semantics of MQTT 5 at QoS 1, without a socket, a clock or chance.

What happens is a queue of small steps, taken in the order in which they were asked for: by `MemoryBroker.pump`, or at
once where the broker is `immediate`. So the same calls give the same events in the same order.

- A session keeps its filters and what it has not acknowledged. Unacknowledged messages come again, in order and before
  anything newer, when the client is back; what is published meanwhile waits.
- `cut` loses a client's line: the broker publishes its will, and the bus comes back only after `mend`. What the bus is
  asked to publish meanwhile waits too, up to `QUEUE_BYTES`.
- A session with expiry 0 ends with its line; any other lasts until `forget`.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, Final

from paho.mqtt.client import topic_matches_sub
from paho.mqtt.matcher import MQTTMatcher

from mizzle.transport.bus import LINE_LOST, AckToken, Arrived, BusEvent, Connected, Disconnected, Listener, Sent, Will

QUEUE_BYTES: Final = 64 * 1024 * 1024

_log = logging.getLogger(__name__)

_SUCCESS, _NOBODY_LISTENS, _QUEUE_FULL = 0x00, 0x10, 0x97


@dataclass(frozen=True)
class _Message:
    topic: str
    body: bytes
    retained: bool = False


@dataclass
class _Session:
    """What the broker remembers of a client, whether its line is up (`bus`) or not."""

    bus: MemoryBus | None = None
    generation: int = 0
    next_mid: int = 1
    filters: dict[str, None] = field(default_factory=dict)
    waiting: deque[_Message] = field(default_factory=deque)
    unacked: dict[int, _Message] = field(default_factory=dict)

    def reconnected(self, bus: MemoryBus) -> None:
        """Begin a new generation, whose ids are dealt anew: what was not acknowledged waits again, before all newer."""
        self.bus, self.generation, self.next_mid = bus, self.generation + 1, 1
        self.waiting.extendleft(reversed(self.unacked.values()))
        self.unacked.clear()


class _Readers:
    """Whose filters match a topic, found without asking each of thousands of clients."""

    def __init__(self) -> None:
        self._by_filter: Any = MQTTMatcher()  # type: ignore[no-untyped-call]  # paho leaves all of it without types
        self._clients: dict[str, dict[str, None]] = {}

    def add(self, client_id: str, topic_filter: str) -> None:
        if topic_filter not in self._clients:
            self._clients[topic_filter] = self._by_filter[topic_filter] = {}
        self._clients[topic_filter][client_id] = None

    def remove(self, client_id: str, topic_filter: str) -> None:
        clients = self._clients.get(topic_filter, {})
        clients.pop(client_id, None)
        if topic_filter in self._clients and not clients:
            del self._clients[topic_filter], self._by_filter[topic_filter]

    def of(self, topic: str) -> list[str]:
        """The clients, each once, in an order that depends on nothing but what was subscribed when."""
        return list(dict.fromkeys(client_id for clients in self._by_filter.iter_match(topic) for client_id in clients))


class MemoryBroker:
    """A broker; `MemoryBus(broker, client_id)` is a line to it. Safe to use from several threads."""

    def __init__(self, *, immediate: bool = True) -> None:
        self._immediate = immediate
        self._steps: deque[Callable[[], object]] = deque()
        self._turn = threading.RLock()
        self._pumping = False
        self._sessions: dict[str, _Session] = {}
        self._readers = _Readers()
        self._retained: dict[str, bytes] = {}
        self._buses: dict[str, MemoryBus] = {}
        self._cut: set[str] = set()

    def pump(self) -> int:
        """Take every step that is due, and those that come of them; how many there were."""
        with self._turn:
            if self._pumping:  # a listener called: the pump that called it goes on
                return 0
            self._pumping = True
            try:
                taken = 0
                while self._steps:
                    self._steps.popleft()()
                    taken += 1
                return taken
            finally:
                self._pumping = False

    def cut(self, client_id: str) -> None:
        """Lose the client's line without a word, until `mend`."""
        self.order(partial(self._lose, client_id))

    def mend(self, client_id: str) -> None:
        """Let the client come back."""
        self.order(partial(self._regain, client_id))

    def forget(self, client_id: str) -> None:
        """Forget the client's session, as a broker does that has lost its disk."""
        self.order(partial(self._drop, client_id))

    def retained(self, topic: str) -> bytes | None:
        """What stands on `topic` for whoever subscribes."""
        return self._retained.get(topic)

    def order(self, step: Callable[[], object]) -> None:
        """Take this step when its turn comes."""
        self._steps.append(step)
        if self._immediate:
            self.pump()

    # Steps. Each runs alone, inside `pump`.

    def connect(self, bus: MemoryBus) -> None:
        """Let a bus in; whoever holds its client id is put out."""
        if bus.client_id in self._cut:
            self._buses[bus.client_id] = bus
            bus.tell(Disconnected("the line is cut"))
            return
        self.disconnect(self._buses.get(bus.client_id), "the session was taken over")
        self._buses[bus.client_id] = bus
        present = bus.client_id in self._sessions
        session = self._sessions.setdefault(bus.client_id, _Session())
        session.reconnected(bus)
        bus.connected(session_present=present)
        self._deliver(session)

    def disconnect(self, bus: MemoryBus | None, why: str) -> None:
        """End a bus's line, if it is up."""
        if bus is None or (session := self._session(bus)) is None:
            return
        session.bus = None
        if bus.session_expiry_s == 0:
            self._drop(bus.client_id)
        bus.disconnected(why)

    def route(self, topic: str, body: bytes, *, retain: bool) -> int:
        """Give a publication to everybody whose filter matches; the PUBACK's reason."""
        if retain and body:
            self._retained[topic] = body
        elif retain:
            self._retained.pop(topic, None)
        readers = self._readers.of(topic)
        for session in [self._sessions[client_id] for client_id in readers]:
            session.waiting.append(_Message(topic, body))
            self._deliver(session)
        return _SUCCESS if readers else _NOBODY_LISTENS

    def subscribe(self, bus: MemoryBus, topic_filter: str) -> None:
        """Hold a filter for the client, and give it what stands on matching topics."""
        if (session := self._session(bus)) is not None:
            session.filters[topic_filter] = None
            self._readers.add(bus.client_id, topic_filter)
            beginning = re.split("[+#]", topic_filter, maxsplit=1)[0]  # of thousands that stand, few begin like this
            kept = [
                (topic, body)
                for topic, body in self._retained.items()
                if topic.startswith(beginning) and topic_matches_sub(topic_filter, topic)
            ]
            session.waiting.extend(_Message(topic, body, retained=True) for topic, body in kept)
            self._deliver(session)

    def unsubscribe(self, bus: MemoryBus, topic_filter: str) -> None:
        """Hold a filter no longer."""
        if (session := self._session(bus)) is not None:
            session.filters.pop(topic_filter, None)
            self._readers.remove(bus.client_id, topic_filter)

    def ack(self, bus: MemoryBus, token: AckToken) -> None:
        """Forget a message of this connection, and go on with those that wait."""
        session = self._session(bus)
        if session is not None and token.generation == session.generation:
            session.unacked.pop(token.mid, None)
            self._deliver(session)

    def is_up(self, bus: MemoryBus) -> bool:
        """Whether the bus has a line."""
        return self._session(bus) is not None

    def _drop(self, client_id: str) -> None:
        session = self._sessions.pop(client_id, None)
        for topic_filter in session.filters if session else ():
            self._readers.remove(client_id, topic_filter)

    def _session(self, bus: MemoryBus) -> _Session | None:
        session = self._sessions.get(bus.client_id)
        return session if session is not None and session.bus is bus else None

    def _deliver(self, session: _Session) -> None:
        bus = session.bus
        while bus is not None and session.waiting and len(session.unacked) < bus.receive_maximum:
            message = session.waiting.popleft()
            token = None
            if bus.manual_ack:
                token = AckToken(session.generation, session.next_mid)
                session.unacked[session.next_mid] = message
                session.next_mid += 1
            bus.tell(Arrived(message.topic, message.body, message.retained, token))

    def _lose(self, client_id: str) -> None:
        self._cut.add(client_id)
        bus = self._buses.get(client_id)
        if bus is not None and self.is_up(bus):
            self.disconnect(bus, "the line is cut")
            if bus.will is not None:
                self.route(bus.will.topic, bus.will.body, retain=True)

    def _regain(self, client_id: str) -> None:
        self._cut.discard(client_id)
        if (bus := self._buses.get(client_id)) is not None:
            self.connect(bus)

    def leave(self, bus: MemoryBus) -> None:
        """Let a bus go for good."""
        self.disconnect(bus, "closed")
        if self._buses.get(bus.client_id) is bus:
            del self._buses[bus.client_id]


class MemoryBus:
    """A `mizzle.transport.bus.Bus` to a `MemoryBroker`; its methods may be called from any thread."""

    def __init__(  # noqa: PLR0913  # as its sister's in `mqtt_bus`
        self,
        broker: MemoryBroker,
        client_id: str,
        *,
        will: Will | None = None,
        session_expiry_s: int = 14 * 24 * 3600,
        receive_maximum: int = 100,
        manual_ack: bool = False,
    ) -> None:
        self.client_id, self.will, self.manual_ack = client_id, will, manual_ack
        self.session_expiry_s, self.receive_maximum = session_expiry_s, receive_maximum
        self._broker = broker
        self._listener: Listener | None = None
        self._numbers = count(1)
        self._unsent: deque[tuple[int, _Message]] = deque()
        self._unsent_bytes = 0
        self._wanted: dict[str, None] = {}
        self._undone: dict[str, bool] = {}

    def open(self, listener: Listener) -> None:
        """Connect, and tell `listener` everything from now on."""
        self._listener = listener
        self._broker.order(partial(self._broker.connect, self))

    def publish(
        self, topic: str, body: bytes, *, retain: bool = False, content_type: str = "", lasting: bool = True
    ) -> int:
        """Queue a publication; `Sent` with the returned number tells when the broker has it.

        Nobody here reads by media type, so `content_type` goes no further.
        """
        del content_type
        number = next(self._numbers)
        self._broker.order(partial(self._publish, number, _Message(topic, body, retain), lasting=lasting))
        return number

    def subscribe(self, topic_filter: str) -> None:
        """Ask for what matches, retained messages included."""
        self._broker.order(partial(self._ask, topic_filter, wanted=True))

    def unsubscribe(self, topic_filter: str) -> None:
        """Ask for it no longer."""
        self._broker.order(partial(self._ask, topic_filter, wanted=False))

    def ack(self, token: AckToken) -> None:
        """Acknowledge a delivery of this connection; of an older one: do nothing, it comes again."""
        self._broker.order(partial(self._broker.ack, self, token))

    def close(self) -> None:
        """Say goodbye (the will stays unsaid) and stop."""
        self._broker.order(partial(self._broker.leave, self))

    # What the broker calls, inside `pump`.

    def tell(self, event: BusEvent) -> None:
        """Tell the listener; what it raises is logged and stops there."""
        if self._listener is not None:
            try:
                self._listener(event)
            except Exception:  # noqa: BLE001  # a listener's fault is its own, as on a real line (FACTS 6)
                _log.exception("the listener failed on %s", type(event).__name__)

    def connected(self, *, session_present: bool) -> None:
        """Ask for what the broker does not hold for us, tell that the line is up, and send what waited for it."""
        undone = self._undone if session_present else dict.fromkeys(self._wanted, True)
        self.tell(Connected(session_present))
        self._undone = {}
        for topic_filter, wanted in undone.items():
            self._ask(topic_filter, wanted=wanted)
        while self._unsent:
            number, message = self._unsent.popleft()
            self._unsent_bytes -= len(message.body)
            self._publish(number, message)

    def disconnected(self, why: str) -> None:
        """Tell that the line is down."""
        self.tell(Disconnected(why))

    def _publish(self, number: int, message: _Message, *, lasting: bool = True) -> None:
        if self._broker.is_up(self):
            reason = self._broker.route(message.topic, message.body, retain=message.retained)
            self.tell(Sent(message.topic, number, reason))
        elif not lasting:
            self.tell(Sent(message.topic, number, LINE_LOST))
        elif self._unsent_bytes + len(message.body) > QUEUE_BYTES:
            self.tell(Sent(message.topic, number, _QUEUE_FULL))
        else:
            self._unsent.append((number, message))
            self._unsent_bytes += len(message.body)

    def _ask(self, topic_filter: str, *, wanted: bool) -> None:
        if wanted:
            self._wanted[topic_filter] = None
        else:
            self._wanted.pop(topic_filter, None)
        if not self._broker.is_up(self):
            self._undone[topic_filter] = wanted
        elif wanted:
            self._broker.subscribe(self, topic_filter)
        else:
            self._broker.unsubscribe(self, topic_filter)
