"""The kill sweep: a federation lives, and each of its processes dies at each point of `mizzle.failpoints` in turn.

    for each effect, before it and after it, at the first and at a later time that a process comes there:
        start the process with the point set, and wait until it has died there
        start it again without, and close a window that was opened after that
        see that every update has its receipt that was in an outbox when it was dead
        hear what the independent judge says

The later time is the third; where a process comes once in a life, as a rule, it is made to come a second time: Redis
forgets everything, so that the process begins again, or the gateway loses its line. Then something else dies at the
same moment, so that what is in flight is lost as well: the broker with devices and gateway, Redis with the others.
Without an append-only file Redis dies at the first time, too, and then everything is begun from the ledger. What was in
it, devices send again: after five to fifteen seconds, or as soon as they have a new line. Where Redis dies the lines
are cut for a moment, so that it is soon; where the broker dies, devices may find a new line before the gateway does.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Final

import msgspec

from mizzle.errors import Away, Misconfigured
from mizzle.failpoints import COUNTS, VARIABLE
from services.local.broker import brokers
from services.local.chaos import OK, UNHEALTHY, WRONG
from services.local.faults import Mode
from services.local.federation import SERVICES
from services.local.inflict import inflict
from services.local.janitor import workplace
from services.local.judgement import judged
from services.local.misfortune import Kind, Misfortune
from services.local.ordeal import Terms, ordeal
from services.local.sight import ended_ids, waiting_ids
from services.local.store import stores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
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
    **dict.fromkeys(("audit-append", "release-write", "ledger-checkpoint"), (ACCOUNTANT,)),
}
"""The processes that come to the two points of each effect."""

ONCE: Final[Mapping[str, Misfortune]] = {
    **dict.fromkeys(("epoch-issue", "place-take", "ledger-checkpoint"), Misfortune(0.0, Kind.FLUSH_STORE, "store")),
    "mirror-refresh": Misfortune(0.0, Kind.CUT, GATEWAY),
}
"""What is done once in a life, as a rule, and what makes a process do it once more."""

FIRST, AGAIN, LATER = 1, 2, 3
PATIENCE_S: Final = 30.0
"""How long a process may take to come to its point, and a federation until a window is clean or an update has ended."""

IN_ONE: Final = 20
"""So many cases befall one federation. The judge reads all that ever happened to it, every time."""

HEADING: Final = (
    f"{'process':<19}{'point':<25}{'n':>2}  {'with it':<8}{'reached':>8}{'died':>6}{'clean s':>9}{'ended s':>9}"
)


@dataclass(frozen=True)
class Case:
    """One death: which process, at which point, the how-manieth time it comes there, and what dies with it, if any."""

    process: str
    point: str
    nth: int
    beside: str


@dataclass(frozen=True)
class Outcome:
    """What became of a case: how often the point was reached, whether the process died of it, and how all went on.

    `unwell` says what did not happen that was to, and `wrong` what the judge found; both are empty if all is
    as it ought to be. The times are in seconds from the new start on.
    """

    case: Case
    reached: int = 0
    died: bool = False
    clean_window_s: float = 0.0
    ended_s: float = 0.0
    unwell: str = ""
    wrong: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether all is as it ought to be."""
        return not (self.unwell or self.wrong)


@dataclass(frozen=True)
class Sweep:
    """All cases with one kind of Redis, how long they took, and in how many of them something is unwell or wrong."""

    aof: Aof
    seconds: float
    unwell: int
    wrong: int
    outcomes: tuple[Outcome, ...]


def sweeps(aofs: Sequence[Aof], every: int, report: Path | None, keep: Path | None) -> int:
    """Sweep with each kind of Redis, every so-manieth case of all; print it, report it, and give the exit status.

    What is left of a federation in which something is not sound is copied into the new folder `keep`, if one is given.

    Raises:
        Misconfigured: something that it needs is missing here, or the folder is there already.
        Away: a federation never began.
    """
    if keep is not None and keep.exists():
        raise Misconfigured(f"--keep names a folder that is not there yet; got {keep}")
    told = [_told(aof, cases(aof)[::every], keep and keep / aof) for aof in aofs]
    if report is not None:
        report.write_bytes(msgspec.json.format(msgspec.json.encode({"sweeps": told})))
    if any(one.wrong for one in told):
        return WRONG
    return UNHEALTHY if any(one.unwell for one in told) else OK


def cases(aof: Aof) -> tuple[Case, ...]:
    """Every case there is, with a Redis that keeps its append-only file like this."""
    return tuple(
        Case(process, f"{effect}.{when}", nth, _beside(process, nth, aof))
        for effect, processes in WHERE.items()
        for process, when, nth in product(processes, ("before", "after"), (FIRST, AGAIN if effect in ONCE else LATER))
    )


def sweep(terms: Terms, wanted: Sequence[Case], keep: Path | None = None) -> Iterator[Outcome]:
    """Walk through these cases, some in each federation; one in which something is unsound is left before.

    It is copied into a folder in `keep`, if that is given, named after how many cases are left.
    """
    left = deque(wanted)
    while left:
        some = deque(left.popleft() for _ in range(min(IN_ONE, len(left))))
        with workplace() as folder, ordeal(folder, terms) as there:
            there.first_window()
            for outcome in walk(there, some):
                yield outcome
                if keep is not None and not outcome.is_sound:
                    there.processes.stop_all()
                    shutil.copytree(folder, keep / str(len(some) + len(left)), ignore=shutil.ignore_patterns("keys"))
        left.extendleft(reversed(some))


def walk(there: Ordeal, left: deque[Case], patience_s: float = PATIENCE_S) -> Iterator[Outcome]:
    """Take one case after the other from `left`, until one is not sound, or none is left and all has come to rest."""
    outcome = _walked(there, left.popleft(), patience_s)
    while left and outcome.is_sound:
        yield outcome
        outcome = _walked(there, left.popleft(), patience_s)
    yield _ended(there, outcome) if outcome.is_sound else outcome


def _beside(process: str, nth: int, aof: Aof) -> str:
    if nth == FIRST:
        return "store" if aof == "no" else ""
    return "broker" if process in {FLEET, GATEWAY} else "store"


def _told(aof: Aof, wanted: Sequence[Case], keep: Path | None) -> Sweep:
    terms = Terms(devices=6, fleets=2, aof=aof, store="redis-server" if "redis-server" in stores() else None)
    kept = "without an append-only file" if aof == "no" else f"with appendfsync {aof}"
    _say(f"\n{len(wanted)} deaths; {brokers()[0]}, {terms.store or stores()[0]} {kept}\n{HEADING}")
    began, outcomes = time.monotonic(), list[Outcome]()
    for outcome in sweep(terms, wanted, keep):
        outcomes.append(outcome)
        _say(_row(outcome))
    unwell, wrong = sum(bool(one.unwell) for one in outcomes), sum(bool(one.wrong) for one in outcomes)
    seconds = round(time.monotonic() - began, 1)
    _say(f"{len(outcomes)} deaths in {seconds:.0f} s: {unwell} unwell, {wrong} wrong")
    return Sweep(aof, seconds, unwell, wrong, tuple(outcomes))


def _row(outcome: Outcome) -> str:
    """The outcome as a line of the table under `HEADING`."""
    case, died = outcome.case, "yes" if outcome.died else "no"
    start = f"{case.process:<19}{case.point:<25}{case.nth:>2}  {case.beside or '-':<8}{outcome.reached:>8}{died:>6}"
    return f"{start}{outcome.clean_window_s:>9.2f}{outcome.ended_s:>9.2f}  {outcome.wrong or outcome.unwell or 'sound'}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _walked(there: Ordeal, case: Case, patience_s: float) -> Outcome:
    """Let the process die at its point, and see how all goes on."""
    died = _dead(there, case, patience_s)
    waits = waiting_ids(there.federation.homes)  # before it is started again, which may be when it forgets
    for name in filter(None, (case.beside, case.process)):
        there.restart(name, {})
    if case.beside == "store":
        _cut_lines(there)
    if died.unwell:
        return died
    try:
        clean_window_s, ended_s = _seen_to_go_on(there, waits, patience_s)
    except Away as away:
        return replace(died, unwell=f"{away}; {_fallen(there)}")
    passed = replace(died, clean_window_s=clean_window_s, ended_s=ended_s)
    return replace(passed, unwell=_fallen(there), wrong=_judged(there))


def _dead(there: Ordeal, case: Case, patience_s: float) -> Outcome:
    """The case as it stands once the process has died, or was given up on."""
    counts = there.federation.folder / "counts"
    counts.unlink(missing_ok=True)
    dying = there.restart(case.process, {VARIABLE: f"{case.point}=kill9@{case.nth}", COUNTS: str(counts)})
    with suppress(Away):
        if case.nth == AGAIN:
            there.clean_window(patience_s)  # with it, so that it has its place
            _made_to_come_again(there, case)
        there.wait_until(lambda: dying.returncode is not None, patience_s, f"the end of {case.process}")
    reached = _reached(counts, case.point)
    if dying.returncode == -signal.SIGKILL and reached == case.nth:
        return Outcome(case, reached, died=True)
    how = "never ended" if dying.returncode is None else f"ended with {dying.returncode}: {dying.last_words[-300:]}"
    return Outcome(case, reached, unwell=f"it came {reached} times to {case.point} and {how}")


def _reached(counts: Path, point: str) -> int:
    lines = counts.read_text().splitlines() if counts.exists() else []
    return sum(line.startswith(f"{point} ") for line in lines)


def _made_to_come_again(there: Ordeal, case: Case) -> None:
    end = inflict(there, ONCE[case.point.rpartition(".")[0]])
    if end is not None:
        end()


def _cut_lines(there: Ordeal) -> None:
    """Let devices lose their lines to the broker, and find new ones."""
    for mode, name in product((Mode.CUT, Mode.PASS_ON), there.fleets):
        there.ways[name].switch(mode)


def _fallen(there: Ordeal) -> str:
    """Who has ended by itself since this was last asked, though somebody else died; empty if nobody has."""
    fallen = [child for child in there.ended if child.returncode != -signal.SIGKILL]
    there.ended.clear()
    return ", ".join(f"{child.name} ended with {child.returncode}: {child.last_words[-300:]}" for child in fallen)


def _seen_to_go_on(there: Ordeal, waits: set[bytes], patience_s: float) -> tuple[float, float]:
    """The seconds until a window was clean, and until every device had the receipts of the updates in `waits`."""
    began, homes = time.monotonic(), there.federation.homes
    clean_window_s = there.clean_window(patience_s)
    there.wait_until(lambda: waits <= ended_ids(homes), patience_s, "a receipt of every update that waited")
    return round(clean_window_s, 3), round(time.monotonic() - began, 3)


def _judged(there: Ordeal) -> str:
    """What is wrong by the judge, who sees the federation as it lives; empty if nothing is."""
    folder = there.federation.folder
    found = judged(there.federation.ledger_file, there.federation.homes, folder / "judgement.json")
    return "" if found.is_clean else f"{found.figures}, {found.findings[:3]}"


def _ended(there: Ordeal, last: Outcome) -> Outcome:
    """The last case's outcome, with what is wrong once all is drained and at rest, if anything is."""
    try:
        there.drain()
    except Away as away:
        return replace(last, unwell=f"{away}; {_fallen(there)}")
    found = there.verdict()
    return last if found.is_clean else replace(last, wrong=f"at the end {found.figures}, {found.findings[:3]}")
