"""What one update costs the servers, from the broker to its receipt, beside the least that moving its bytes can cost.

    python -m bench.pipeline --elements 100000 --bits 4 --updates 3000 --json FILE

A real broker, Redis and every service run as child processes; a crowd of devices enrols, is invited, and sends distinct
signed updates that were made beforehand. The clock runs from the first update until the last receipt is with its
device; what the servers' processes spent meanwhile, by /proc, is divided by the updates. Enrolments and invitations
come before. Then the yardstick (`bench/bare.py`) moves as many updates of as many bytes through a broker and a Redis of
its own. The run fails unless counted updates = receipts delivered = updates sent.

All updates of a window come from different devices, so a window has as many devices as it has updates. Noise is drawn
once a window: `noise_ms_per_window` says what it takes, and `--windows` over how many windows the updates are spread.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
import redis
import typer
from safetensors.numpy import save

from bench import usage
from bench.crowd import Crowd, Late, counted, send, updates
from mizzle.grid import GAIN
from mizzle.plan import Plan, from_toml
from mizzle.terms import bound_of, codec_of, grid_of, mechanism_of
from mizzle.topics import Keyspace
from mizzle.vocabulary import FULL_WEIGHT
from services.ledger.ledger import Ledger
from services.local.federation import SERVICES, Federation, running
from services.local.janitor import workplace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.crowd import Wanderer

BARE: Final = Path(__file__).with_name("bare.py")
SERVERS: Final = ("broker", "store", *SERVICES)
MOST_OUTSTANDING: Final = 96 * 2**20
"""Bytes that may wait in the broker: beyond 256 MiB for one reader it drops messages in silence."""

PATIENCE_S: Final = 600.0

PLAN: Final = """
schema = 1
federation = "bench"
model = "flat.safetensors"
[train]
[window]
mode = "rounds"
goal = {goal}
quorum = {goal}
invite = 1.0
deadline_s = 3600.0
late = "refuse"
windows = {windows}
[select]
policy = "uniform"
[update]
codec = "{codec}"
bits = {bits}
clip = 1.0
[judge]
scores = ["norm", "history"]
[combine]
strategy = "fedavg"
[privacy]
mechanism = "gaussian"
noise_multiplier = 1.0
device_budget = 100000.0
federation_budget = 100000.0
minimum_crowd = 1
"""


@dataclass
class Cost:
    """What the servers have spent while the clock ran, and how long it ran; idle_share is the machine's."""

    cpu_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SERVERS, 0.0))
    wall_s: float = 0.0
    idle_s: float = 0.0

    def add(self, before: Mapping[str, float], after: Mapping[str, float], wall_s: float, idle_share: float) -> None:
        """Add one window's."""
        for name in self.cpu_s:
            self.cpu_s[name] += after[name] - before[name]
        self.wall_s += wall_s
        self.idle_s += wall_s * idle_share


def plan_for(elements: int, bits: int, goal: int, windows: int) -> tuple[Plan, bytes]:
    """A plan that trains one flat vector of so many elements, with `goal` updates a window, and its first model."""
    model = save({"weight": np.zeros(elements, np.float32)})
    codec = "hadamard" if bits >= 4 else "drive"  # noqa: PLR2004  # drive is for 1 and 2 bits
    return from_toml(PLAN.format(goal=goal, windows=windows, codec=codec, bits=bits), model), model


def measured(elements: int, bits: int, sent: int, windows: int) -> dict[str, Any]:
    """One run of the pipeline, as the fields of the report.

    Raises:
        Late: an update's receipt, an invitation or an identity did not come in time.
    """
    devices = sent // windows
    plan, model = plan_for(elements, bits, devices, windows)
    with workplace() as folder:
        fsync_p50_ms = usage.fsync_p50_ms(folder)
        load = os.getloadavg()[0]
        with running(folder, plan, model, keep_payloads=False) as federation:
            tokens = [federation.founded.token(f"d{index:05}") for index in range(devices)]
            with Crowd(plan, federation.broker.port, tokens) as crowd:
                crowd.join(PATIENCE_S)
                cost = Cost()
                for window in range(1, windows + 1):
                    _window(federation, crowd, window, cost)
                peaks = {name: round(usage.peak_mb(federation.processes[name].pid), 1) for name in SERVERS}
                receipt_key = federation.founded.public_keys["receipt"]
                delivered = sum(counted(device, receipt_key) for device in crowd.devices)
            in_releases = _counted(federation.ledger_file)
    per_update = {name: round(1e3 * spent / sent, 4) for name, spent in cost.cpu_s.items()}
    return {
        "elements": elements,
        "bits": bits,
        "updates": sent,
        "windows": windows,
        "updates_per_s": round(sent / cost.wall_s, 1),
        "server_cpu_ms_per_update": round(sum(per_update.values()), 4),
        "cpu_ms_per_update": per_update,
        "peak_mb": peaks,
        "bytes_per_update": codec_of(plan).payload_bytes(grid_of(plan)),
        "counted": in_releases,
        "receipts_delivered": delivered,
        "noise_ms_per_window": _noise_ms(plan),
        "fsync_p50_ms": fsync_p50_ms,
        "load_before": load,
        "idle_share": round(cost.idle_s / cost.wall_s, 3),
    }


def _window(federation: Federation, crowd: Crowd, window: int, cost: Cost) -> None:
    """Wait until all are invited, let the clock run while updates go in and receipts come out."""
    crowd.until(lambda: crowd.invited(window), PATIENCE_S, f"invitations to window {window}")
    ready = updates(federation.plan, crowd.devices, start=(window - 1) * len(crowd.devices))
    pids = " ".join(f"{name}={federation.processes[name].pid}" for name in SERVERS)
    typer.echo(f"window {window}: the clock runs; {pids}", err=True)
    before, machine, began = _cpu_s(federation), usage.machine(), time.perf_counter()
    _publish(federation, crowd, ready, window)
    crowd.until(lambda: all(len(one.receipts) >= window for one in crowd.devices), PATIENCE_S, "receipts", look_s=0.005)
    wall_s = time.perf_counter() - began
    cost.add(before, _cpu_s(federation), wall_s, usage.machine().idle_share_since(machine))


def _publish(federation: Federation, crowd: Crowd, ready: Sequence[tuple[Wanderer, bytes, bytes]], window: int) -> None:
    """Send all updates, never more at once than the broker may hold."""
    size = len(ready[0][2])
    most, sent = max(1, MOST_OUTSTANDING // size), (window - 1) * len(ready)
    intake = _Intake(federation)
    for device, sealed, payload in ready:
        if sent - intake.seen >= most:
            crowd.until(lambda: intake.look() > sent - most, PATIENCE_S, "the gateway to take updates")  # noqa: B023  # asked at once
        send(federation.plan, device, sealed, payload)
        sent += 1


class _Intake:
    """How many updates the gateway has put on its stream so far."""

    def __init__(self, federation: Federation) -> None:
        name = Ledger.open(f"sqlite:///{federation.ledger_file}", federation.plan.federation).name
        self._stream = Keyspace(name, federation.plan.federation).stream("received")
        self._redis = redis.Redis.from_url(federation.redis_url)
        self.seen = self.look()

    def look(self) -> int:
        """The number as it is now."""
        if not self._redis.exists(self._stream):
            return 0
        self.seen = int(self._redis.xinfo_stream(self._stream)["entries-added"])
        return self.seen


def _cpu_s(federation: Federation) -> dict[str, float]:
    return {name: usage.cpu_s(federation.processes[name].pid) for name in SERVERS}


def _counted(ledger: Path) -> int:
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM updates WHERE outcome = 'counted'").fetchone()[0])


def _noise_ms(plan: Plan) -> float:
    """CPU milliseconds that the noise of one window takes."""
    mechanism, grid, began = mechanism_of(plan), grid_of(plan), time.process_time()
    mechanism.noise(bytes(32), GAIN * mechanism.sigma(FULL_WEIGHT, bound_of(plan)), grid.size)
    return round(1e3 * (time.process_time() - began), 1)


def bare(payload_bytes: int, sent: int, folder: Path) -> dict[str, Any]:
    """The yardstick's own figures for as many updates of as many bytes; it knows levels of 4 bits, two to a byte."""
    report = folder / "bare.json"
    argv = [sys.executable, str(BARE), "--elements", str(2 * payload_bytes), "--updates", str(sent)]
    subprocess.run([*argv, "--json", str(report)], check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # our own file
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def judged(found: Mapping[str, Any]) -> list[str]:
    """What is wrong with a report's counts; nothing if each update counts and its receipt was delivered."""
    wanted = found["updates"]
    names = ("counted", "receipts_delivered")
    return [f"{name} is {found[name]}, {wanted} updates were sent" for name in names if found[name] != wanted]


def main(
    elements: Annotated[int, typer.Option(min=64, help="d, the parameters of the model")] = 100_000,
    bits: Annotated[int, typer.Option(help="8, 4, 2 or 1")] = 4,
    sent: Annotated[int, typer.Option("--updates", min=1, help="how many updates are sent")] = 3000,
    windows: Annotated[int, typer.Option(min=1, help="over how many windows they are spread")] = 1,
    report: Annotated[Path | None, typer.Option("--json", help="write the figures to this file as well")] = None,
) -> None:
    """Measure the pipeline, then the yardstick; exit 1 if an update was not counted or its receipt not delivered."""
    if sent % windows:
        raise typer.BadParameter(f"{sent} updates do not spread evenly over {windows} windows")
    found = measured(elements, bits, sent, windows)
    with workplace() as folder:
        yardstick = bare(found["bytes_per_update"], sent, folder)
    found |= {name: yardstick[name] for name in ("bare_updates_per_s", "bare_cpu_ms_per_update")}
    found["times_bare"] = round(found["server_cpu_ms_per_update"] / found["bare_cpu_ms_per_update"], 2)
    text = json.dumps(found, indent=1)
    typer.echo(text)
    if report is not None:
        report.write_text(text + "\n")
    if wrong := judged(found):
        typer.echo("; ".join(wrong), err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    try:
        typer.run(main)
    except Late as late:
        typer.echo(str(late), err=True)
        sys.exit(1)
