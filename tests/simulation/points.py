"""The points between any two effects: everything a process does to the world passes one before and one after it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from mizzle.device.events import Cleared, Full, Kept
from mizzle.device.outbox import Outbox
from mizzle.device.states import Bounds
from services.runtime.log import Log
from services.runtime.payloads import Spool
from services.runtime.redis_log import Entry, Output, Place

Reach = Callable[[str], None]
"""Called with the name of a point; it may raise `Killed`, or let the others act for a while."""


class Killed(BaseException):
    """The process whose act this is dies here, as by SIGKILL: nothing of it runs any more."""


class Committed(Protocol):
    """Told of each commit that the store took: in which epoch, and what was said."""

    def __call__(self, place: Place, outputs: Sequence[Output]) -> None:
        """It has been written."""


class PointedLog:
    """A log with a point before and after each thing that changes it."""

    def __init__(self, log: Log, reach: Reach, taken: Callable[[int], None], committed: Committed) -> None:
        self._log, self._reach, self._taken, self._committed = log, reach, taken, committed
        self.brought = False
        """Whether the last read brought anything."""

    def take(self, epoch: int) -> Place:
        self._reach("before the place is taken")
        place = self._log.take(epoch)
        self._taken(epoch)
        return place

    def read(self, cursors: Mapping[str, str], count: int, wait_ms: int) -> list[Entry]:
        self.brought = False
        entries = self._log.read(cursors, count, wait_ms)
        self.brought = bool(entries)
        if entries:
            self._reach("after read")
        return entries

    def commit(
        self, place: Place, state: bytes | None, cursors: Mapping[str, str], outputs: Sequence[Output] = ()
    ) -> Place:
        self._reach("before stream commit")
        committed = self._log.commit(place, state, cursors, outputs)
        self._committed(place, outputs)
        self._reach("after stream commit")
        return committed

    def append(self, outputs: Sequence[Output]) -> None:
        self._reach("before append")
        self._log.append(outputs)
        self._reach("after append")

    def holder(self) -> int:
        return self._log.holder()

    def fence(self) -> tuple[int, int]:
        return self._log.fence()

    def tries(self, entry: Entry) -> int:
        return self._log.tries(entry)

    def forget(self, entry: Entry) -> None:
        self._log.forget(entry)

    def dead(self, entry: Entry, service: str, why: str) -> Output:
        return self._log.dead(entry, service, why)

    def beat(self, at: int, behind: Mapping[str, str]) -> None:
        self._log.beat(at, behind)


class PointedSpool(Spool):
    """The payload store with a point after each payload that it takes and before each that it lets go."""

    def __init__(self, folder: Path, reach: Reach) -> None:
        super().__init__(folder, 2**30)
        self._reach = reach

    def put(self, key: bytes, body: bytes | memoryview) -> None:
        super().put(key, body)
        self._reach("after payload put")

    def discard(self, key: bytes) -> None:
        self._reach("before payload discard")
        super().discard(key)


class PointedOutbox(Outbox):
    """An outbox in memory that outlives its device's lives; it tells `kept` and `cleared` what comes and goes."""

    def __init__(
        self, now: Callable[[], int], reach: Reach, kept: Callable[[bytes], None], cleared: Callable[[bytes], None]
    ) -> None:
        super().__init__(Path(":memory:"), Bounds(), now)
        self._reach, self._kept, self._cleared = reach, kept, cleared

    def keep(self, update: bytes, window: int, sealed: bytes, payload: bytes, lost: bytes = b"") -> Kept | Full:
        self._reach("before outbox write")
        answer = super().keep(update, window, sealed, payload, lost)
        if isinstance(answer, Kept):
            self._kept(update)
        self._reach("after outbox write")
        return answer

    def clear(self, update: bytes, receipt: bytes) -> Cleared:
        self._reach("after receipt, before delete")
        answer = super().clear(update, receipt)
        self._cleared(update)
        self._reach("after delete")
        return answer

    def copy_to(self, path: Path) -> None:
        """Write what it holds into a file, for whoever judges it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._store.execute("VACUUM INTO ?", (str(path),))


Reached = Counter[str]
"""How often each point was reached."""
