"""Updates on their way out: their parts are read from the outbox as the broker takes them, a few at a time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from mizzle import parts, topics
from mizzle.errors import Away
from mizzle.failpoints import failpoint
from mizzle.parts import ALL
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
    """Sends updates one after the other, in the order asked for, over whichever line `publish` leads to.

    What is with the bus when a line is lost has been on the wire for nothing. So on a new line one part is out at a
    time, until an update has gone through: a line that is lost again and again costs a part each time, at most.
    """

    def __init__(self, federation: str, device: str, outbox: Outbox, publish: Callable[[str, bytes], int]) -> None:
        self._topic, self._probes = (topics.up(federation, device, kind) for kind in (Up.UPDATE, Up.PROBE))
        self._outbox, self._publish = outbox, publish
        self._updates: dict[bytes, int] = {}
        self._parts: Iterator[bytes] = iter(())
        self._current: bytes | None = None
        self._whole = False
        self._out: dict[int, bytes] = {}
        self._most = MOST_PARTS

    def send(self, update: bytes, wanted: int = ALL) -> None:
        """Send these parts of an update when its turn comes; what has not had its turn yet is not sent twice."""
        if update != self._current or not (self._whole or wanted == ALL):
            self._updates[update] = self._updates.get(update, 0) | wanted
        self._go_on()

    def ask(self, update: bytes) -> bool:
        """Ask what became of an update, by its header alone; False while it is on its way, since its rest will come."""
        if update in self._updates or update == self._current or update in self._out.values():
            return False
        if (sealed := self._outbox.sealed(update)) is not None:
            self._publish(self._probes, sealed)
        return True

    def sent(self, sent: Sent) -> None:
        """The bus has got rid of a part, or could not: then the rest of its update waits until it is due again."""
        if sent.mid not in self._out:
            return
        with failpoint("puback"):
            del self._out[sent.mid]
            if sent.reason >= _REFUSED:
                self._parts, self._current = iter(()), None
            self._go_on()

    def forget(self) -> None:
        """The line is gone: what is to be sent over the next one will be asked for again."""
        self._updates.clear()
        self._out.clear()
        self._parts, self._current = iter(()), None
        self._most = 1

    def _go_on(self) -> None:
        while len(self._out) < self._most:
            part = next(self._parts, None)
            if part is not None and self._current is not None:
                with failpoint("update-publish"):
                    self._out[self._publish(self._topic, part)] = self._current
            elif not self._begin_next():
                return

    def _begin_next(self) -> bool:
        if self._current is not None:
            self._most = MOST_PARTS
        self._current = None
        while self._updates:
            update = next(iter(self._updates))
            wanted = self._updates.pop(update)
            if (kept := self._outbox.payload(update)) is not None:
                self._count(update)
                self._parts, self._current, self._whole = parts.split(*kept, wanted), update, wanted == ALL
                return True
        return False

    def _count(self, update: bytes) -> None:
        try:
            self._outbox.sent(update)
        except Away as error:  # on a full disk it is still better to send than to count
            _log.warning("a send is not counted: %s", error)
