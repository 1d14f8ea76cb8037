"""Points at which a process can be told to die: compiled in, so that what is tested is what runs, and free when unset.

    MIZZLE_FAILPOINT="xadd.after=kill9@3; step.before=stop"     POINT=ACTION, at the n-th time it is reached (@1)
    MIZZLE_FAILPOINT_COUNTS=FILE                                a line for every point reached: POINT TIMES ACTION

    kill9   the process ends, as by `kill -9`: nothing is closed, flushed or said
    stop    it stands still, as by SIGSTOP, until somebody sends SIGCONT
    count   nothing happens; the point is only counted

Points come in pairs, before an effect and after it: `with failpoint("xadd"): …` is `xadd.before` and `xadd.after`; an
effect that raises is not after it. Nothing but the environment of the process itself can set one. A line of the file is
written before the action is taken, and outlives it.

A pair that is unset costs 0.11 µs (Python 3.11: the least of five times 10^6 `with failpoint("xadd"): pass`), so none
stands where something is done for each coordinate.
"""

from __future__ import annotations

import difflib
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast, get_args

from mizzle.errors import Misconfigured

Action = Literal["kill9", "stop", "count"]

VARIABLE: Final = "MIZZLE_FAILPOINT"
COUNTS: Final = "MIZZLE_FAILPOINT_COUNTS"

EFFECTS: Final[Mapping[str, str]] = {
    # a device
    "outbox-write": "an update is written to the outbox",
    "update-publish": "a part of an update is given to the line",
    "puback": "the broker's acknowledgement of a part is heeded",
    "receipt": "a receipt takes its update's place in the outbox",
    "outbox-memory": "numbers to sign under, the newest window or the identity are written to the outbox",
    # the gateway
    "message": "what devices published is verified",
    "payload-store": "a payload is stored, whose header is on no stream yet",
    "spool-rename": "a file of the payload store is written and gets its name",
    "xadd": "what came from outside is appended to the streams",
    "mqtt-ack": "a message is acknowledged to the broker",
    "payload-discard": "the payloads of updates that have ended are discarded",
    "answer-publish": "answers are published",
    "release-blobs": "the model and the manifest of a release are published",
    "release-announce": "a release is announced",
    "mirror-refresh": "all that stands for everyone is published again",
    # every service
    "epoch-issue": "the ledger issues an epoch",
    "place-take": "the service takes its place in Redis in that epoch",
    "step": "a batch that was read is folded into the state",
    "blob-store": "what the ledger is to refer to is stored, such as a noised sum",
    "ledger-book": "the ledger writes what was booked, and its streams do not know yet",
    "stream-commit": "state, cursors and outputs are committed to Redis",
    # the ledger's writer
    "ledger-commit": "a transaction, all its rows written, is committed",
    "ledger-checkpoint": "what is committed is folded into the ledger's file",
    "charge-reserve": "what an update costs is reserved",
    "charge-settle": "what the members of a release cost is settled",
    "audit-append": "a row is added to the audit log, and not yet on the disk",
    "release-write": "the rows of a release are written, its members being counted",
}
"""What is done between the two points `EFFECT.before` and `EFFECT.after`."""

POINTS: Final = frozenset(f"{effect}.{when}" for effect in EFFECTS for when in ("before", "after"))

_CHARGE: Final = re.compile(r"\s*([^=\s]+)\s*=\s*([^@\s]+)\s*(?:@\s*([1-9][0-9]{0,8})\s*)?")


@dataclass(frozen=True)
class Charge:
    """What is done when `point` is reached for the `nth` time."""

    point: str
    action: Action
    nth: int = 1


def failpoint(effect: str) -> AbstractContextManager[None]:
    """The points before and after `effect`, which is done in this context; unset, they are nothing."""
    return _ARMED[0].around(effect) if _ARMED else _UNSET


def arm(environ: Mapping[str, str] = os.environ) -> None:
    """Set the points that the environment names, for as long as this process lives; the first call counts.

    Raises:
        Misconfigured: there is no such point or action, or the file cannot be written.
    """
    charges, counts = environ.get(VARIABLE), environ.get(COUNTS)
    with _ARMING:
        if (charges or counts) and not _ARMED:
            _ARMED.append(_Armed(parse(charges or ""), Path(counts) if counts else None))


def parse(text: str) -> tuple[Charge, ...]:
    """What `text` asks for: POINT=ACTION@TIMES, several of them separated by `;` or `,`.

    Raises:
        Misconfigured: something else stands there; the text names it, and the nearest point there is.
    """
    return tuple(_charge(part) for part in re.split("[;,]", text) if part.strip())


class _Armed:
    """The points that are set in this process, and how often each one was reached."""

    def __init__(self, charges: tuple[Charge, ...], counts: Path | None) -> None:
        self._actions = {(charge.point, charge.nth): charge.action for charge in charges}
        self._reached: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._file = None if counts is None else _opened(counts)

    @contextmanager
    def around(self, effect: str) -> Iterator[None]:
        self._reach(f"{effect}.before")
        yield
        self._reach(f"{effect}.after")

    def _reach(self, point: str) -> None:
        with self._lock:  # until it is done: nobody dies while another thread's line is still to be written
            self._reached[point] += 1
            times = self._reached[point]
            action = self._actions.get((point, times), "count")
            if self._file is not None:
                os.write(self._file, f"{point} {times} {action}\n".encode())
            _act(action)


_UNSET: Final = nullcontext()
_ARMED: Final[list[_Armed]] = []
_ARMING: Final = threading.Lock()


def _act(action: Action) -> None:
    """Take the action; the kernel takes it from here before this thread goes on."""
    match action:
        case "kill9":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        case "count":
            pass


def _charge(part: str) -> Charge:
    found = _CHARGE.fullmatch(part)
    if found is None:
        raise Misconfigured(f"{VARIABLE} is POINT=ACTION@TIMES, such as xadd.after=kill9@3; got {part.strip()!r}")
    point, action, times = found.groups()
    _refuse(point, POINTS, "point")
    _refuse(action, get_args(Action), "action")
    return Charge(point, cast("Action", action), int(times or 1))


def _refuse(name: str, known: frozenset[str] | tuple[str, ...], kind: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
        raise Misconfigured(f"{VARIABLE} names the {kind} {name!r}, which is not there; the nearest is {near[0]!r}")


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Misconfigured(f"{COUNTS} is a file to count in; {path} cannot be written: {error.strerror}") from error
