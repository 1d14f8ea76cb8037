"""Updates on their way out: their parts are read from the outbox as the broker takes them, a few at a time."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from mizzle import parts, topics
from mizzle.errors import Away
from mizzle.failpoints import failpoint
from mizzle.topics import Up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mizzle.device.outbox import Outbox
    from mizzle.transport.bus import Sent

MOST_PARTS: Final = 8
"""How many parts are with the bus at a time: at 96 KiB each, less than 1 MB of memory whatever waits."""

_log = logging.getLogger(__name__)

_REFUSED: Final = 0x80  # MQTT 5 §2.4: from here on a reason says that the message was not taken


class Sender:
    """Sends updates one after the other, in the order asked for, over whichever line `publish` leads to."""

    def __init__(self, federation: str, device: str, outbox: Outbox, publish: Callable[[str, bytes], int]) -> None:
        self._topic = topics.up(federation, device, Up.UPDATE)
        self._outbox, self._publish = outbox, publish
        self._updates: deque[bytes] = deque()
        self._parts: Iterator[bytes] = iter(())
        self._current: bytes | None = None
        self._out: set[int] = set()

    def send(self, update: bytes) -> None:
        """Send an update when its turn comes; one that has not had its turn yet is not sent twice."""
        if update not in self._updates and update != self._current:
            self._updates.append(update)
        self._go_on()

    def sent(self, sent: Sent) -> None:
        """The bus has got rid of a part, or could not: then the rest of its update waits until it is due again."""
        if sent.mid in self._out:
            with failpoint("puback"):
                self._out.discard(sent.mid)
                if sent.reason >= _REFUSED:
                    self._parts, self._current = iter(()), None
                self._go_on()

    def forget(self) -> None:
        """The line is gone: what is to be sent over the next one will be asked for again."""
        self._updates.clear()
        self._out.clear()
        self._parts, self._current = iter(()), None

    def _go_on(self) -> None:
        while len(self._out) < MOST_PARTS:
            part = next(self._parts, None)
            if part is not None:
                with failpoint("update-publish"):
                    self._out.add(self._publish(self._topic, part))
            elif not self._begin_next():
                return

    def _begin_next(self) -> bool:
        self._current = None
        while self._updates:
            update = self._updates.popleft()
            if (kept := self._outbox.payload(update)) is not None:
                self._count(update)
                self._parts, self._current = parts.split(*kept), update
                return True
        return False

    def _count(self, update: bytes) -> None:
        try:
            self._outbox.sent(update)
        except Away as error:  # on a full disk it is still better to send than to count
            _log.warning("a send is not counted: %s", error)
