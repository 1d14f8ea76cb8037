"""A buffered federation on real servers: hares, tortoises and a snail, each update with its receipt.

It is judged from outside: the judge reads the ledger and the devices' outboxes, and imports nothing of ours.
"""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from math import isqrt
from typing import Any, Final

import numpy as np
from safetensors.numpy import save

import mizzle
from mizzle.device.task import Task
from mizzle.plan import from_toml
from services.local.broker import brokers
from services.local.federation import Federation, running
from services.local.janitor import workplace
from services.local.sight import Sight, waiting
from services.local.store import stores
from tests.lives import CHECKOUT
from tests.servers import missing

HARES: Final = ("hare-1", "hare-2", "hare-3", "hare-4")
TORTOISES: Final = ("tortoise-1", "tortoise-2")
SNAIL: Final = "snail"
WINDOWS: Final = 8
STALE: Final = 3
MOST_SECONDS: Final = 90
MODEL: Final = save({"w": np.linspace(-1, 1, 70, dtype=np.float32)})
PLAN: Final = f"""
schema = 1
federation = "fable"
model = "w.safetensors"
[train]
[window]
mode = "buffered"
goal = 3
quorum = 3
invite = 2.34
deadline_s = 20.0
max_staleness = {STALE}
windows = {WINDOWS}
[select]
policy = "uniform"
[update]
codec = "hadamard"
bits = 8
[combine]
strategy = "fedavg"
[privacy]
mechanism = "gaussian"
noise_multiplier = 0.2
minimum_crowd = 2
"""
"""Seven are at work, three make a step: with the tortoises and the snail on their way, the hares make the others."""


@dataclass(frozen=True)
class Fable:
    """What the devices wait for: so many models newer than the first, and the first updates of slower ones.

    A tortoise has trained once there are two newer models, the snail once its own is too old. The hares do not run so
    far ahead that a tortoise's update would be too old as well, nor to the end before the snail is there.
    """

    two_newer: threading.Event = field(default_factory=threading.Event)
    too_old: threading.Event = field(default_factory=threading.Event)
    tortoises: threading.Event = field(default_factory=threading.Event)
    snail: threading.Event = field(default_factory=threading.Event)

    def training(self, name: str) -> Callable[[Task], dict[str, Any]]:
        """A function that moves every weight a little, once it is time."""
        own = self.two_newer if name in TORTOISES else self.too_old if name == SNAIL else None

        def train(task: Task) -> dict[str, Any]:
            first = own or (self.tortoises if task.window > STALE else None)
            for event in (first, self.snail if task.window > STALE + 2 and name != SNAIL else None):
                assert event is None or event.wait(MOST_SECONDS)
            return {name: weight + 0.01 for name, weight in task.weights.items()}

        return train

    def see(self, version: int, senders: set[str]) -> None:
        """Look at the ledger's newest release, and at whose updates it has."""
        seen = {
            self.two_newer: version >= 2,
            self.too_old: version > STALE,
            self.tortoises: senders.issuperset(TORTOISES),
            self.snail: SNAIL in senders,
        }
        for event, is_so in seen.items():
            if is_so:
                event.set()


def test_every_update_of_fast_slow_and_too_slow_devices_ends_and_the_judge_finds_nothing() -> None:
    for server, found in (("mosquitto", brokers()), ("redis-server", stores())):
        if server not in found:
            missing(server)
    plan = from_toml(PLAN, MODEL)
    with workplace() as folder, running(folder, plan, MODEL, keep_payloads=False, store="redis-server") as federation:
        play(federation)
        updates = rows(federation, "SELECT device, staleness, weight, outcome, reason FROM updates")
        windows = rows(federation, "SELECT state FROM windows")
        members = rows(federation, "SELECT members FROM releases")
        judged = judge(federation)
    assert (windows, members) == ([("released",)] * WINDOWS, [(3,)] * WINDOWS)
    assert {outcome for *_, outcome, _ in updates} == {"counted", "refused"}
    firsts = {device: row for device, *row in reversed(updates)}
    for device in TORTOISES:
        stale = firsts[device][0]
        assert firsts[device] == [stale, isqrt(64 * 64 // (1 + stale)), "counted", None]
        assert stale in {2, 3}
    assert firsts[SNAIL] == [0, 0, "refused", "stale"]
    assert judged.returncode == 0, judged.stdout


def play(federation: Federation) -> None:
    """Run the devices until the federation has come to its end and every outbox is empty."""
    fable, until = Fable(), time.monotonic() + MOST_SECONDS
    with closing(Sight(federation.ledger_file, "fable")) as sight, devices(federation, fable):
        while sight.halt() is None or sight.open_updates() or waiting(federation.homes):
            assert not [child.last_words for child in federation.processes.tend(0.05)]
            version = max((row.version or 0 for row in sight.rows()), default=0)
            fable.see(version, {device for (device,) in rows(federation, "SELECT device FROM updates")})
            assert time.monotonic() < until


@contextmanager
def devices(federation: Federation, fable: Fable) -> Iterator[None]:
    """All devices of the fable, each in a thread of its own."""
    with ExitStack() as after:
        for name in (*HARES, *TORTOISES, SNAIL):
            home = federation.homes / name
            home.mkdir(parents=True)
            device = mizzle.Device(federation.broker_url, home, token=federation.founded.token(name))
            device.train(fable.training(name))
            thread = threading.Thread(target=device.run, name=name, daemon=True)
            thread.start()
            after.callback(thread.join, 10)
            after.callback(device.stop)
        yield


def judge(federation: Federation) -> subprocess.CompletedProcess[str]:
    """What the independent judge says of the ledger and the outboxes."""
    asked = [sys.executable, "-m", "examples.judge", str(federation.ledger_file), "--homes", str(federation.homes)]
    return subprocess.run(asked, cwd=CHECKOUT, capture_output=True, text=True, check=False)


def rows(federation: Federation, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(federation.ledger_file)) as ledger:
        return ledger.execute(f"{query} ORDER BY rowid").fetchall()
