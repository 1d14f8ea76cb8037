"""What the demo makes happen, and what it tells of it: losses, a hostile update, a kill, a late subscriber."""

from __future__ import annotations

import random
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.local.evidence import Killed
from services.local.federation import ROOT
from services.local.fleet import FACTOR, Fleet, Wrist
from services.local.fleets import start_fleet
from services.local.sight import Lines, Row, Sight, waiting

if TYPE_CHECKING:
    from services.local.federation import Federation
    from services.local.scene import Scene

CUT_IN, AWAY, HOSTILE_IN, KILL_IN, SUBSCRIBE_IN = 4, 3, 3, 9, 4
WATCHED_S, GLANCE_S = 3.0, 0.002


@dataclass
class Story:
    """A federation under misfortune, and how far the telling has come."""

    federation: Federation
    scene: Scene
    sight: Sight
    fleets: tuple[Lines, ...]
    killed: Killed | None = None
    subscriber: Lines | None = None
    told: set[Any] = field(default_factory=set)

    def turn(self) -> None:
        """Look after the processes for a moment, see what is new, do what is due."""
        for child in self.federation.processes.tend(0.05):
            if self.killed is None or child.pid != self.killed.pid:
                raise RuntimeError(f"{child.name} ended with {child.returncode}; its log says:\n{child.last_words}")
        rows = self.sight.rows()
        self._tell_fleets()
        self._tell_endings()
        self._kill()
        self._subscribe(rows)
        self.show()

    def show(self) -> None:
        """Show the windows as they stand."""
        self.scene.show(self.sight.rows(), self.accuracies)

    @property
    def accuracies(self) -> dict[int, float]:
        """What the subscriber found for each release that it has verified."""
        if self.subscriber is None:
            return {}
        self.subscriber.new()
        return {line["version"]: line["accuracy"] for line in self.subscriber.seen if line["version"] > 0}

    @property
    def is_over(self) -> bool:
        """No window will open, every update has ended, and everybody knows."""
        if self.sight.halt() is None or self.sight.open_updates():
            return False
        newest = max((row.version or 0 for row in self.sight.rows()), default=0)
        return waiting(self.federation.homes) == 0 and (newest == 0 or newest in self.accuracies)

    def _tell_fleets(self) -> None:
        for fleet in self.fleets:
            for event in fleet.new():
                match event:
                    case {"event": "cut", "device": device, "window": window}:
                        self.scene.happened(
                            f"{device} trained for window {window} and lost its network before it could send"
                        )
                    case {"event": "back", "device": device, "window": window}:
                        self.scene.happened(f"{device} is back: its outbox is sent again")
                    case {"event": "hostile", "device": device, "window": window}:
                        self.scene.happened(f"{device} sends its update for window {window} times −{FACTOR}")

    def _tell_endings(self) -> None:
        for key, device, window, why in self.sight.refusals():
            if self._is_news(key):
                self.scene.happened(f"{device}'s update for window {window} is refused, {why}")
        for key, device, named, window, weight in self.sight.folds():
            if self._is_news(key):
                self.scene.happened(
                    f"{device}'s update for window {named} counts in window {window} with weight {weight}/64"
                )
        self._tell_survival()

    def _tell_survival(self) -> None:
        """Once the window of the kill has ended: what became of the members that it had before."""
        if self.killed is None or self.sight.members(self.killed.window):
            return
        counted = self.sight.counted_of(set(self.killed.members))
        if counted and self._is_news(b"survival"):
            self.scene.happened(
                f"window {self.killed.window} has ended: {counted} of the {len(self.killed.members)} members"
                " before the kill are in its release, each once"
            )

    def _is_news(self, key: bytes) -> bool:
        is_news = key not in self.told
        self.told.add(key)
        return is_news

    def _kill(self) -> None:
        """Kill the aggregator while a window has some members and not yet all, which may be for a tenth of a second.

        So from the end of the window before it nothing else is looked at for a while: a turn of ours takes as long, and
        on a busy machine one window after the other went by between two of them.
        """
        until = time.monotonic() + WATCHED_S
        while self.killed is None and self.sight.halt() is None and time.monotonic() < until:
            window, state = self.sight.newest()
            if window + (state != "open") < KILL_IN:
                return
            members = self.sight.members(window) if state == "open" else set()
            if 0 < len(members) < self.federation.plan.window.goal:
                self._kill_now(window, members)
            time.sleep(GLANCE_S)

    def _kill_now(self, window: int, members: set[bytes]) -> None:
        child = self.federation.processes["aggregator"]
        child.kill(signal.SIGKILL)
        ended_by = signal.Signals(-child.wait(5.0))
        self.killed = Killed("aggregator", child.pid, ended_by, window, frozenset(members))
        has = f"window {window} has {len(members)} members"
        self.scene.happened(f"the aggregator (pid {child.pid}) is killed with {ended_by.name} while {has}")

    def _subscribe(self, rows: list[Row]) -> None:
        is_late = bool(rows) and (rows[-1].window >= SUBSCRIBE_IN or self.sight.halt() is not None)
        if self.subscriber is None and is_late:
            key = self.federation.founded.public_keys["release"].hex()
            argv = [
                sys.executable,
                "-m",
                "examples.integrator",
                self.federation.broker_url,
                self.federation.plan.federation,
                key,
            ]
            child = self.federation.processes.start("subscriber", argv, {"PYTHONPATH": str(ROOT)})
            self.subscriber = Lines(child.log)
            self.scene.happened("a subscriber starts late and fetches the releases it missed, oldest first")


def cast(names: tuple[str, ...], seed: int) -> tuple[list[str], str]:
    """Who loses the network, and who is hostile: by the demo's seed."""
    chosen = random.Random(seed).sample(sorted(names), 3)  # noqa: S311  # a play's cast is no secret
    return chosen[:2], chosen[2]


def start_fleets(federation: Federation, names: tuple[str, ...], seed: int) -> tuple[Lines, ...]:
    """Start the devices in two processes, half of them with torch and half with numpy alone."""
    away, hostile = cast(names, seed)
    half = len(names) // 2
    logs = []
    for kind, part in (("torch", names[:half]), ("numpy", names[half:])):
        wrists = tuple(
            Wrist(
                name=name,
                script=f"examples.device_{kind}",
                environment={
                    "MIZZLE_BROKER": federation.broker_url,
                    "MIZZLE_HOME": str(federation.homes / name),
                    "MIZZLE_TOKEN": federation.founded.token(name),
                    "MIZZLE_SEED": str(seed),
                    "WATCH_WRIST": name,
                },
                cut_in_window=CUT_IN if name in away else None,
                hostile_in_window=HOSTILE_IN if name == hostile else None,
            )
            for name in part
        )
        fleet = Fleet(broker_port=federation.broker.port, away_windows=AWAY, wrists=wrists)
        logs.append(Lines(start_fleet(federation.processes, f"fleet-{kind}", fleet).log))
    return tuple(logs)
