"""The kill sweep: a federation lives, and each of its processes dies at each point of `mizzle.failpoints` in turn.

    for each effect, before it and after it, at the first and at the third time that a process comes there:
        start the process with the point set, and wait until it has died there
        start it again without, and close a window that was opened after that
        see that every update has ended that was in an outbox when it was started again
        hear what the independent judge says

At the third time something else dies at the same moment, so that what is in flight is lost as well: the broker with
devices and gateway, Redis with the others. Without an append-only file Redis dies at the first time, too, and then
everything is begun from the ledger.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

import msgspec

from mizzle.errors import Away
from mizzle.failpoints import COUNTS, VARIABLE
from services.local.federation import SERVICES
from services.local.janitor import workplace
from services.local.judgement import judged
from services.local.ordeal import Terms, ordeal
from services.local.sight import waiting_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from services.local.ordeal import Ordeal
    from services.local.store import Aof

FLEET, GATEWAY, ACCOUNTANT, AGGREGATOR = "fleet-0", "gateway", "privacy_accountant", "aggregator"

WHERE: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("outbox-write", "update-publish", "puback", "receipt", "outbox-memory"), (FLEET,)),
    **dict.fromkeys(("message", "payload-store", "xadd", "mqtt-ack"), (GATEWAY,)),
    **dict.fromkeys(("payload-discard", "answer-publish", "release-blobs", "release-announce"), (GATEWAY,)),
    "mirror-refresh": (GATEWAY,),
    "spool-rename": (GATEWAY, AGGREGATOR),
    **dict.fromkeys(("epoch-issue", "place-take", "step", "stream-commit"), SERVICES),
    "blob-store": (AGGREGATOR,),
    **dict.fromkeys(("ledger-book", "ledger-commit", "charge-reserve", "charge-settle"), (ACCOUNTANT,)),
    **dict.fromkeys(("audit-append", "release-write"), (ACCOUNTANT,)),
}
"""The processes that come to the two points of each effect."""

ONCE: Final = frozenset({"epoch-issue", "place-take", "mirror-refresh"})
"""What is done once in a life, as a rule, so that there is no third time."""

FIRST, LATER = 1, 3
PATIENCE_S: Final = 30.0
"""How long a process may take to come to its point, and a federation until a window is clean or an update has ended."""


@dataclass(frozen=True)
class Case:
    """One death: which process, at which point, the how-manieth time it comes there, and what dies with it, if any."""

    process: str
    point: str
    nth: int
    beside: str

    def __str__(self) -> str:
        return f"{self.process} {self.point} @{self.nth}"


@dataclass(frozen=True)
class Outcome:
    """What became of a case: how often the point was reached, whether the process died of it, and how all went on.

    `why` says what is wrong, and is empty if nothing is. The times are in seconds from the new start on.
    """

    case: Case
    reached: int = 0
    died: bool = False
    clean_window_s: float = 0.0
    drained_s: float = 0.0
    why: str = ""


def cases(aof: Aof) -> tuple[Case, ...]:
    """Every case there is, with a Redis that keeps its append-only file like this."""
    return tuple(
        Case(process, f"{effect}.{when}", nth, _beside(process, nth, aof))
        for effect, processes in WHERE.items()
        for process, when, nth in product(processes, ("before", "after"), (FIRST, LATER))
        if nth == FIRST or effect not in ONCE
    )


def sweep(aof: Aof, wanted: Sequence[Case], tell: Callable[[str], None]) -> tuple[Outcome, ...]:
    """Walk through these cases; a federation in which something is wrong is left, and the rest is done in a new one."""
    left, outcomes = deque(wanted), list[Outcome]()
    tell(HEADING)
    while left:
        with workplace() as folder, ordeal(folder, Terms(devices=6, fleets=2, aof=aof)) as there:
            there.first_window()
            while left:
                outcomes.append(_walked(there, left.popleft()))
                tell(row(outcomes[-1]))
                if outcomes[-1].why:
                    break
            else:
                outcomes[-1] = _ended(there, outcomes[-1])
    return tuple(outcomes)


HEADING: Final = f"{'process':<19}{'point':<24}{'n':>2}  {'with it':<8}{'reached':>8}{'died':>6}{'clean s':>9}{'ended s':>9}"


def row(outcome: Outcome) -> str:
    """The outcome as a line of the table under `HEADING`."""
    case, died = outcome.case, "yes" if outcome.died else "no"
    start = f"{case.process:<19}{case.point:<24}{case.nth:>2}  {case.beside or '-':<8}{outcome.reached:>8}{died:>6}"
    return f"{start}{outcome.clean_window_s:>9.2f}{outcome.drained_s:>9.2f}  {outcome.why or 'sound'}"


def report(aof: Aof, outcomes: Sequence[Outcome], seconds: float) -> bytes:
    """All of it as JSON."""
    wrong = sum(bool(outcome.why) for outcome in outcomes)
    said = {"aof": aof, "seconds": round(seconds, 1), "cases": len(outcomes), "wrong": wrong}
    return msgspec.json.format(msgspec.json.encode(said | {"outcomes": [asdict(one) for one in outcomes]}))


def _beside(process: str, nth: int, aof: Aof) -> str:
    if nth == FIRST:
        return "store" if aof == "no" else ""
    return "broker" if process in {FLEET, GATEWAY} else "store"


def _walked(there: Ordeal, case: Case) -> Outcome:
    """Let the process die at its point, and see how all goes on."""
    counts = there.federation.folder / "counts"
    counts.unlink(missing_ok=True)
    dying = there.restart(case.process, {VARIABLE: f"{case.point}=kill9@{case.nth}", COUNTS: str(counts)})
    with suppress(Away):
        there.wait_until(lambda: dying.returncode is not None, PATIENCE_S, f"the end of {case.process}")
    died, reached = dying.returncode == -9, sum(line.startswith(f"{case.point} ") for line in _lines(counts))
    for name in filter(None, (case.beside, case.process)):
        there.restart(name, {})
    if not died or reached < case.nth:
        how = f"ended with {dying.returncode}" if dying.returncode is not None else "never ended"
        return Outcome(case, reached, died, why=f"it {how}, and was to die at {case.point}: {dying.last_words[-300:]}")
    try:
        clean_window_s, drained_s = _seen_to_go_on(there)
    except Away as away:
        return Outcome(case, reached, died, why=str(away))
    return Outcome(case, reached, died, clean_window_s, drained_s, _judged(there))


def _seen_to_go_on(there: Ordeal) -> tuple[float, float]:
    """The seconds until a window was clean, and until every update had ended that is now in an outbox."""
    began, homes = time.monotonic(), there.federation.homes
    waits = waiting_ids(homes)
    clean_window_s = there.clean_window(PATIENCE_S)
    there.wait_until(lambda: waits.isdisjoint(waiting_ids(homes)), PATIENCE_S, "an end of every update that waited")
    return clean_window_s, time.monotonic() - began


def _judged(there: Ordeal) -> str:
    """What is wrong by the judge, who sees the federation as it lives; empty if nothing is."""
    folder = there.federation.folder
    found = judged(there.federation.ledger_file, there.federation.homes, None, folder / "judgement.json")
    return "" if found.is_clean else f"{found.figures}, {found.findings[:3]}"


def _ended(there: Ordeal, last: Outcome) -> Outcome:
    """The last case's outcome, with what is wrong once all is drained and at rest, if anything is."""
    try:
        there.drain()
    except Away as away:
        return _but(last, str(away))
    found = there.verdict()
    return last if found.is_clean else _but(last, f"at the end {found.figures}, {found.findings[:3]}")


def _but(last: Outcome, why: str) -> Outcome:
    return Outcome(last.case, last.reached, last.died, last.clean_window_s, last.drained_s, why)


def _lines(counts: Path) -> Iterator[str]:
    if counts.exists():
        yield from counts.read_text().splitlines()
