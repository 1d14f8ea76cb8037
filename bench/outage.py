"""An outage right after training: every device has an update in its outbox, and nobody can send.

The whole system runs, each device with a session, an outbox on disk and a line of its own, many of them in a process
(`services.local.fleet`), and the way of all of them to the broker leads through one `FaultProxy`:

1. all devices are there, the first window invites all of them, and they train;
2. the way is cut, and they are done;
3. after the outage the way is opened: they come back, send, and get their receipts. The first 80 % fill the window;
   those behind are late, and count in the next one, which trains all of them once more;
4. when that has ended too, `examples.judge` looks at the ledger and at every outbox.
"""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from safetensors.numpy import save

from bench.machine import Watch, allow_many_files, watch
from bench.proc import cpu_s, peak_mb
from bench.rejoined import Comeback, Rejoined
from mizzle.codec import decode
from mizzle.device.home import OUTBOX
from mizzle.envelope import unseal
from mizzle.errors import Away
from mizzle.messages import Receipt
from mizzle.plan import Plan, from_toml
from mizzle.transport.backoff import LONGEST_S, span_s
from services.local.faults import FaultProxy, Mode
from services.local.federation import SERVICES, running
from services.local.fleet import Fleet, Wrist
from services.local.fleets import start_fleet
from services.local.janitor import workplace
from services.local.judgement import judged
from services.local.sight import Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.local.federation import Federation

FEDERATION: Final = "rejoin"
FLEETS: Final = ("fleet-0", "fleet-1")
"""The processes that the devices live in, half of them each."""

_SERVER: Final = ("broker", "store", *SERVICES)
_PARAMETERS: Final = 64
_PATIENCE_S: Final = 120.0
"""For each thing that is waited for, beside the outage."""

_LOOK_S: Final = 0.5
_PLAN: Final = """
schema = 1
federation = "{federation}"
model = "model.safetensors"
[train]
learning_rate = 0.1
[window]
mode = "rounds"
goal = {goal}
quorum = {goal}
invite = {invite}
deadline_s = {deadline}
late = "fold"
windows = 2
[select]
policy = "uniform"
[update]
codec = "hadamard"
bits = 4
[judge]
scores = ["norm", "history"]
[combine]
strategy = "fedavg"
[privacy]
mechanism = "gaussian"
noise_multiplier = 1.0
device_budget = 1000.0
federation_budget = 1000.0
minimum_crowd = 8
"""


def suffer(devices: int, offline_s: float) -> Rejoined:
    """Let so many devices be away for so many seconds, in a system of their own, which is gone afterwards.

    Raises:
        Misconfigured: a server is missing here.
        Away: a process fell, or something that was waited for did not come; the text says what.
    """
    allow_many_files()
    plan, model = _plan(devices, offline_s)
    with (
        workplace() as folder,
        running(folder, plan, model, keep_payloads=False) as system,
        FaultProxy(system.broker.port) as way,
    ):
        story = Story(system, way, tuple(f"device-{number}" for number in range(devices)))
        return story.played(offline_s)


@dataclass(frozen=True)
class Story:
    """The system, the devices' way to its broker, and the devices."""

    system: Federation
    way: FaultProxy
    devices: tuple[str, ...]

    def played(self, offline_s: float) -> Rejoined:
        """The story from the first device to the verdict."""
        machine, cut = self._left()
        self._tend_until(cut + offline_s)
        opened, before = time.monotonic(), self._cpu()
        self.way.switch(Mode.PASS_ON)
        self._await("got the receipt of its update", lambda: not self._without("receipts"))
        used = {name: spent - before[name] for name, spent in self._cpu().items()}
        self._await("come to the end of the second window", self._is_over)
        peaks = {name: peak_mb(self.system.processes[name].pid) for name in self._names}
        self.system.processes.stop_all()
        outcomes, later = self._outcomes()
        judgement = judged(self.system.ledger_file, self.system.homes, self.system.folder / "judgement.json")
        return Rejoined(
            devices=len(self.devices),
            offline_s=offline_s,
            comeback=self._comeback(opened, opened - cut),
            outcomes=outcomes,
            last_receipt_s=self._last_receipt() - opened,
            later=later,
            cpu_s=used,
            peak_mb=peaks,
            judgement=judgement,
            machine=machine.end(),
        )

    def _left(self) -> tuple[Watch, float]:
        """Let every device train, cut the way while it does, and let it be done; the machine as it was, and when."""
        with _held(self.system.folder / "gate") as gate:
            self._start(gate)
            self._await("begun to train for the first window", lambda: self._training == len(self.devices))
            machine = watch(self.system.folder)
            self.way.switch(Mode.CUT)
            cut = time.monotonic()
        self._await("kept its update", lambda: not self._without("waiting"))
        return machine, cut

    def _comeback(self, opened: float, away_s: float) -> Comeback:
        """The connections since the way was opened, and within what time the devices were to make them."""
        return Comeback(tuple(at - opened for at in self.way.accepted if at >= opened), span_s(away_s))

    @property
    def _names(self) -> tuple[str, ...]:
        return (*_SERVER, *FLEETS)

    @cached_property
    def _lines(self) -> tuple[Lines, ...]:
        return tuple(Lines(self.system.processes[name].log) for name in FLEETS)

    @cached_property
    def _outboxes(self) -> tuple[Path, ...]:
        return tuple(self.system.homes / device / OUTBOX for device in self.devices)

    @property
    def _training(self) -> int:
        """How many devices have begun to train."""
        for lines in self._lines:
            lines.new()
        return len({said["device"] for lines in self._lines for said in lines.seen if said.get("event") == "trains"})

    def _start(self, gate: Path) -> None:
        """Start the devices; each is a script as it stands, in a thread of its own."""
        wrists = [
            Wrist(
                name=device,
                script="bench.detained",
                environment={
                    "MIZZLE_BROKER": f"mqtt://127.0.0.1:{self.way.port}",
                    "MIZZLE_HOME": str(self.system.homes / device),
                    "MIZZLE_TOKEN": self.system.founded.token(device),
                    "MIZZLE_DEVICE": device,
                    "DETAINED_BY": str(gate),
                },
            )
            for device in self.devices
        ]
        for at, name in enumerate(FLEETS):
            part = tuple(wrists[at :: len(FLEETS)])
            fleet = Fleet(broker_port=0, away_windows=0, wrists=part, longest_pause_s=LONGEST_S)
            start_fleet(self.system.processes, name, fleet)

    def _without(self, table: str) -> int:
        """How many devices have nothing of the first window in this table of their outbox."""
        return sum(not _rows(outbox, f"SELECT 1 FROM {table} WHERE window = 1") for outbox in self._outboxes)  # noqa: S608

    def _last_receipt(self) -> float:
        """When the last receipt of the first window was kept, by the monotonic clock in seconds."""
        query = "SELECT max(at) FROM receipts WHERE window = 1"
        kept = max(int(_rows(outbox, query)[0][0]) for outbox in self._outboxes) / 1000
        return kept - time.time() + time.monotonic()

    def _is_over(self) -> bool:
        """Whether nothing waits in any outbox, and every device has trained twice."""
        queries = ("SELECT 1 FROM waiting", "SELECT 1 FROM receipts WHERE window = 2")
        return all(not _rows(outbox, queries[0]) and _rows(outbox, queries[1]) for outbox in self._outboxes)

    def _outcomes(self) -> tuple[Counter[str], int]:
        """How the updates of the first window ended, by kind, and how many ended later."""
        first: Counter[str] = Counter()
        later = 0
        for outbox in self._outboxes:
            for window, sealed in _rows(outbox, "SELECT window, sealed FROM receipts"):
                if window == 1:
                    first[_kind(decode(unseal(sealed).header, Receipt))] += 1
                else:
                    later += 1
        return first, later

    def _cpu(self) -> dict[str, float]:
        return {name: cpu_s(self.system.processes[name].pid) for name in self._names}

    def _tend_until(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            self._tend(left)

    def _await(self, what: str, claim: Callable[[], bool]) -> None:
        until = time.monotonic() + _PATIENCE_S
        while not claim():
            if time.monotonic() > until:
                raise Away(f"every device was to have {what} within {_PATIENCE_S} s: see {self.system.folder}/log")
            self._tend(_LOOK_S)

    def _tend(self, wait_s: float) -> None:
        for fallen in self.system.processes.tend(wait_s):
            raise Away(f"{fallen.name} ended with {fallen.returncode}; its log ends with\n{fallen.last_words}")


def _kind(receipt: Receipt) -> str:
    """An outcome in a word or two."""
    outcome = msgspec.to_builtins(receipt.outcome)
    where = {"counted": f" in window {outcome.get('window')}", "refused": f": {outcome.get('reason')}"}
    return f"{outcome['outcome']}{where.get(outcome['outcome'], '')}"


def _rows(outbox: Path, query: str) -> list[Any]:
    """What an outbox answers; nothing while it is being made."""
    try:
        with closing(sqlite3.connect(f"{outbox.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


@contextmanager
def _held(file: Path) -> Iterator[Path]:
    """A file that nobody else gets a lock of while this lasts."""
    with file.open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield file


def _plan(devices: int, offline_s: float) -> tuple[Plan, bytes]:
    model = save({"weight": np.zeros(_PARAMETERS, np.float32)})
    goal = max(8, devices * 4 // 5)
    deadline = offline_s + 2 * _PATIENCE_S
    text = _PLAN.format(federation=FEDERATION, goal=goal, invite=devices / goal, deadline=deadline)
    return from_toml(text, model), model
