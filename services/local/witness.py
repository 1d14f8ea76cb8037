"""A witness at the broker: it hears all that is said in a federation, writes it down, and can say it again.

The file has a line of JSON for each message, as `examples.judge` reads it: `at` (when it was heard, in milliseconds
since 1970), `topic`, `body` (base64) and `retained`.
"""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections import deque
from typing import TYPE_CHECKING, Final, Self

from mizzle import topics
from mizzle.errors import Unreadable
from mizzle.transport.bus import Arrived
from mizzle.transport.clock import now
from mizzle.transport.mqtt_bus import MqttBus

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from mizzle.transport.bus import BusEvent

NAME: Final = "witness"
"""Its name at the broker, which has to grant it everything."""

_REMEMBERED: Final = 256
_LONGEST_PAUSE_S: Final = 0.5


class Witness:
    """Listens inside the context, at the broker at `url`, and writes into the file `path`.

    It is given a line of its own to the broker: what it does not hear while the broker is down is not in its file.
    """

    def __init__(self, url: str, federation: str, path: Path) -> None:
        self._bus = MqttBus(url.replace("//", f"//{NAME}@"), NAME, max_backoff_s=_LONGEST_PAUSE_S)
        self._federation = federation
        self._file = path.open("a", encoding="utf-8")
        self._updates: deque[tuple[str, bytes]] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._bus.subscribe(topics.everything(self._federation))
        self._bus.open(self._listen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bus.close()
        with self._lock:
            self._file.close()

    def say_again(self, most: int) -> int:
        """Publish up to `most` parts of the newest updates once more, as they were heard; how many they are."""
        with self._lock:
            again = list(self._updates)[-most:]
        for topic, body in again:
            self._bus.publish(topic, body)
        return len(again)

    def written(self) -> None:
        """Have all that was heard so far in the file."""
        with self._lock:
            self._file.flush()

    def _listen(self, event: BusEvent) -> None:
        if not isinstance(event, Arrived):
            return
        seen = {
            "at": now(),
            "topic": event.topic,
            "body": b64encode(event.body).decode(),
            "retained": event.retained,
        }
        with self._lock:
            if self._file.closed:
                return
            self._file.write(json.dumps(seen) + "\n")
            if _is_update(event.topic):
                self._updates.append((event.topic, event.body))


def _is_update(topic: str) -> bool:
    try:
        return topics.parse_up(topic).kind == topics.Up.UPDATE
    except Unreadable:
        return False
