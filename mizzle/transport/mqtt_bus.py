"""A bus over MQTT 5: a thread of its own that connects, reads, writes and comes back for ever.

Whoever calls a bus puts a request where that thread finds it, so nothing blocks and `mizzle.transport.mqtt_line` is
touched by one thread alone. It polls its own socket: paho's loop selects, which silently ends past descriptor 1023
(FACTS 11).
"""

from __future__ import annotations

import logging
import os
import random
import select
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from mizzle.errors import Misconfigured
from mizzle.transport.backoff import LONGEST_S, Attempt, Backoff
from mizzle.transport.bus import Disconnected, Sent
from mizzle.transport.mqtt_line import Address, Line, Outgoing, Terms

if TYPE_CHECKING:
    from collections.abc import Callable

    from mizzle.transport.bus import AckToken, BusEvent, Listener, Will

QUEUE_FULL: Final = 0x97
"""The reason of a publication that found the queue full (MQTT 5: quota exceeded); it was not sent."""

_log = logging.getLogger(__name__)


class MqttBus:
    """A `mizzle.transport.bus.Bus` to the MQTT 5 broker at `url` (`mqtt://host:port`, TCP).

    The session is that of `client_id`, and so are the rights, unless the address names another user
    (`mqtt://user@host:port`). A password is never part of an address, which is written into logs and seen in lists of
    processes.

    The session outlives a connection by `session_expiry_s`. After a loss the bus tries again within a second, and then
    about every quarter of the time that it has been away, `max_backoff_s` at most, in a way that spreads those evenly
    who lost their lines together (`mizzle.transport.backoff`). At most `queue_bytes` of publications wait
    for their PUBACK: one that finds no room is not sent, and told as `Sent` with reason 0x97; one that is longer than
    the broker takes, with reason 0x95. With `manual_ack`, at most about `receive_maximum` messages are unacknowledged,
    and about `receive_bytes` of them.
    `close` waits up to `goodbye_s` for what is queued.

    Raises:
        Misconfigured: `url` is no such address, or `max_backoff_s` is not more than 0.
    """

    def __init__(  # noqa: PLR0913  # each is a setting of MQTT's or a bound
        self,
        url: str,
        client_id: str,
        *,
        password: str | None = None,
        will: Will | None = None,
        session_expiry_s: int = 14 * 24 * 3600,
        receive_maximum: int = 100,
        receive_bytes: int = 64 * 1024 * 1024,
        manual_ack: bool = False,
        keepalive_s: int = 30,
        max_backoff_s: float = LONGEST_S,
        queue_bytes: int = 64 * 1024 * 1024,
        goodbye_s: float = 2.0,
    ) -> None:
        if max_backoff_s <= 0:
            raise Misconfigured(f"max_backoff_s, the longest pause of a line, is more than 0, got {max_backoff_s}")
        terms = Terms(session_expiry_s, receive_maximum, receive_bytes, manual_ack, keepalive_s)
        self._line = Line(_address(url, client_id, password), terms, will, self._settled)
        self._max_backoff_s, self._queue_bytes, self._goodbye_s = max_backoff_s, queue_bytes, goodbye_s
        self._listener: Listener = _log_only
        self._thread = threading.Thread(target=self._live, name=f"bus-{client_id}", daemon=True)
        self._lock = threading.Lock()
        self._orders: deque[Callable[[], None]] = deque()
        self._wakeup: int | None = None
        self._number = 0
        self._queued = 0
        self._until: float | None = None

    def open(self, listener: Listener) -> None:
        """Begin to connect, and tell `listener` everything from now on; what it raises is logged and stops there."""
        self._listener = listener
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread.start()

    def publish(
        self, topic: str, body: bytes, *, retain: bool = False, content_type: str = "", lasting: bool = True
    ) -> int:
        """Queue a publication; `Sent` with the returned number tells when the broker has it, or why it is not sent."""
        with self._lock:
            self._number += 1
            outgoing = Outgoing(self._number, topic, body, retain, content_type, lasting)
            fits = self._queued + outgoing.size <= self._queue_bytes
            self._queued += outgoing.size if fits else 0
        if fits:
            self._order(partial(self._line.publish, outgoing))
        else:
            self._order(partial(self._line.events.append, Sent(topic, outgoing.number, QUEUE_FULL)))
        return outgoing.number

    def subscribe(self, topic_filter: str) -> None:
        """Ask for what matches, retained messages included; asked again whenever the broker has forgotten."""
        self._order(partial(self._line.ask, topic_filter, wanted=True))

    def unsubscribe(self, topic_filter: str) -> None:
        """Ask for it no longer."""
        self._order(partial(self._line.ask, topic_filter, wanted=False))

    def ack(self, token: AckToken) -> None:
        """Acknowledge a delivery of this connection; of an older one: do nothing, it comes again."""
        self._order(partial(self._line.ack, token))

    def close(self) -> None:
        """Say goodbye (the will stays unsaid) and stop; waits up to `goodbye_s` for what is queued."""
        with self._lock:
            self._until = time.monotonic() + self._goodbye_s
        self._order(lambda: None)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(2 * self._goodbye_s + 1)

    def _order(self, order: Callable[[], None]) -> None:
        with self._lock:
            self._orders.append(order)
            # With another one before it, the thread has been woken for that one, and looks again after each it obeys.
            if self._wakeup is not None and len(self._orders) == 1:
                os.eventfd_write(self._wakeup, 1)

    def _settled(self, outgoing: Outgoing) -> None:
        with self._lock:
            self._queued -= outgoing.size

    # What follows runs in the bus's own thread.

    def _live(self) -> None:
        backoff = Backoff(time.monotonic(), self._max_backoff_s)
        wakeup = self._wakeup
        assert wakeup is not None  # noqa: S101  # `open` made it
        while not self._is_over():
            attempt = self._connection(wakeup)
            backoff = backoff.after(attempt, random.random())  # noqa: S311  # jitter is no secret
            self._wait(wakeup, backoff.due)
        with self._lock:
            self._wakeup = None
            os.close(wakeup)

    def _connection(self, wakeup: int) -> Attempt:
        """One connection, from its beginning to its end."""
        began, generation, was_reached = time.monotonic(), self._line.generation, False
        try:
            self._line.connect()
            was_reached = True
            while self._line.is_open and not self._is_late():
                self._obey()
                if self._is_over():
                    self._line.say_goodbye()
                self._line.turn(wakeup, 1000 if self._until is None else 50)
                self._tell()
        except OSError as error:
            self._line.events.append(Disconnected(f"the broker cannot be reached: {error}"))
        except Exception as error:  # noqa: BLE001  # whatever strange bytes make paho raise: the cure is a new connection
            _log.exception("the connection is given up")
            self._line.events.append(Disconnected(f"the connection was given up: {error}"))
        self._tell()
        return Attempt(began, time.monotonic(), was_reached, self._line.generation > generation)

    def _wait(self, wakeup: int, until: float) -> None:
        """Pause between two connections, and go on taking requests meanwhile."""
        poll = select.poll()
        poll.register(wakeup, select.POLLIN)
        while (left := until - time.monotonic()) > 0 and not self._is_over():
            if poll.poll(left * 1000):
                os.eventfd_read(wakeup)
            self._obey()
            self._tell()

    def _obey(self) -> None:
        while self._orders:
            self._orders.popleft()()

    def _tell(self) -> None:
        while self._line.events:
            event = self._line.events.popleft()
            try:
                self._listener(event)
            except Exception:  # noqa: BLE001  # a listener's fault must not end the thread that keeps the line (FACTS 6)
                _log.exception("the listener failed on %s; the line goes on without it", type(event).__name__)

    def _is_over(self) -> bool:
        """Whether we are to close, and nothing is left to be sent or waited for."""
        if self._until is None:
            return False
        return (self._line.is_empty and not self._orders) or time.monotonic() > self._until

    def _is_late(self) -> bool:
        """Whether even the goodbye has taken too long."""
        return self._until is not None and time.monotonic() > self._until + self._goodbye_s


def _address(url: str, client_id: str, password: str | None) -> Address:
    named, _, _ = url.rpartition("@")
    if ":" in named.partition("//")[2]:
        raise Misconfigured(
            "a broker's address holds no password, which others could read there: write it into a file that only you "
            "may read, and name that in MIZZLE_BROKER_PASSWORD_FILE"
        )
    parts = _parts(url)
    if parts is None:
        raise Misconfigured(f"a broker's address is mqtt://HOST:PORT or mqtt://USER@HOST:PORT, got {url!r}")
    return Address(parts.hostname or "", parts.port or 0, client_id, parts.username or client_id, password)


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme == "mqtt" and parts.hostname and parts.port
    except ValueError:
        return None
    return parts if is_whole else None


def _log_only(event: BusEvent) -> None:
    _log.debug("nobody listens to %s", event)
