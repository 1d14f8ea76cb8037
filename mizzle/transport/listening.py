"""A line to a broker for somebody who only looks: a session of its own that ends with it, and one event at a time."""

from __future__ import annotations

import queue
import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from mizzle.transport.mqtt_bus import MqttBus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mizzle.transport.bus import Bus, BusEvent

_MOST_UNREAD: Final = 10_000


class Listening:
    """What a line tells, in order; the bus waits while too much of it is unread."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self._events: queue.Queue[BusEvent] = queue.Queue(_MOST_UNREAD)

    def hear(self, event: BusEvent) -> None:
        """Take an event from the bus."""
        self._events.put(event)

    def next(self, within_s: float) -> BusEvent | None:
        """The next event; None if none comes in time."""
        try:
            return self._events.get(timeout=max(0.0, within_s))
        except queue.Empty:
            return None

    def until(self, claim: Callable[[BusEvent], bool], within_s: float) -> BusEvent | None:
        """The first event of which the claim is true; None if none comes in time. Those before it are passed over."""
        end = time.monotonic() + within_s
        while (event := self.next(end - time.monotonic())) is not None:
            if claim(event):
                return event
        return None


@contextmanager
def listening(url: str, user: str, purpose: str, password: str | None = None) -> Iterator[Listening]:
    """A line with the rights of `user`, or of the one whom the address names, that takes over nobody's session.

    Raises:
        Misconfigured: `url` is no broker's address.
    """
    bus = MqttBus(
        _with(user, url), f"{purpose}-{secrets.token_hex(8)}", password=password, session_expiry_s=0, goodbye_s=0.5
    )
    line = Listening(bus)
    bus.open(line.hear)
    try:
        yield line
    finally:
        bus.close()


def user_in(url: str) -> str | None:
    """Whom the address of a broker names, `mqtt://USER@HOST:PORT`; None if it names nobody, or is none."""
    try:
        return urlsplit(url).username or None
    except ValueError:
        return None


def without_user(url: str) -> str:
    """The same address, naming nobody."""
    scheme, mark, rest = url.partition("//")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


def _with(user: str, url: str) -> str:
    """The address with a user in it."""
    return url if user_in(url) else without_user(url).replace("//", f"//{user}@", 1)
