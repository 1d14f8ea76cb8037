"""Several devices in one process, each with its own session, key and outbox, and their misfortunes.

    python -m services.local.fleet FLEET.json

Each device is an example script as it stands, run in a thread with an environment of its own. What befalls it is done
from outside: its network is cut between training and sending, or its payload is multiplied on the way out. Events are
printed as JSON lines.
"""

from __future__ import annotations

import faulthandler
import json
import os
import runpy
import sys
import threading
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from mizzle.device.train import ENVIRONMENT, MADE, Device
from mizzle.device.training import encoded
from mizzle.grid import fits
from mizzle.payload import read
from mizzle.terms import bound_of
from mizzle.transport.mqtt_bus import MqttBus
from services.local.faults import FaultProxy, Mode

if TYPE_CHECKING:
    from mizzle.grid import Vector
    from mizzle.messages import Invitation
    from mizzle.plan import Plan
    from mizzle.transport.bus import Bus, Will

FACTOR: Final = 20
"""The hostile device sends its update times −20."""

LONGEST_PAUSE_S: Final = 1.0
LONGEST_AWAY_S: Final = 20.0
"""A network comes back by then, even if no window opens any more."""


class Wrist(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One device: its script as a module, its settings, and what befalls it from which window on.

    A broker that its settings do not name is the one that the process's own MIZZLE_BROKER names.
    """

    name: str
    script: str
    environment: dict[str, str]
    cut_in_window: int | None = None
    hostile_in_window: int | None = None


class Fleet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The devices of one process; a network that was cut comes back after so many windows.

    A lost line is tried again after `longest_pause_s` at most: soon, for the demo is short and the broker is ours.
    """

    broker_port: int
    away_windows: int
    wrists: tuple[Wrist, ...]
    longest_pause_s: float = LONGEST_PAUSE_S


class Misfortunes:
    """What befalls the devices of this process: one network each for those that will lose it."""

    def __init__(self, fleet: Fleet) -> None:
        """No network is cut yet."""
        self._away_windows = fleet.away_windows
        self.longest_pause_s = fleet.longest_pause_s
        self._back_in: dict[str, int] = {}
        self._lock = threading.Lock()
        self._done: set[str] = set()
        self.networks = {wrist.name: FaultProxy(fleet.broker_port) for wrist in fleet.wrists if wrist.cut_in_window}

    def trained(self, wrist: Wrist, invitation: Invitation) -> None:
        """A device has trained and will send: cut its network if its time has come, mend those whose time is over."""
        with self._lock:
            self._mend(invitation.window)
            due = wrist.cut_in_window is not None and invitation.window >= wrist.cut_in_window
            if due and wrist.name not in self._done:
                self._done.add(wrist.name)
                self._back_in[wrist.name] = invitation.window + self._away_windows
                self.networks[wrist.name].switch(Mode.CUT)
                threading.Timer(LONGEST_AWAY_S, self._back, (wrist.name, invitation.window)).start()
                say(event="cut", device=wrist.name, window=invitation.window)

    def encode(self, wrist: Wrist, change: Vector, plan: Plan, invitation: Invitation) -> bytes:
        """The payload as the library makes it; of a hostile device, once, times −20.

        It waits for a change that is then too long: one whose training was cut short on a busy machine may not be.
        """
        payload = encoded(change, plan, invitation)
        with self._lock:
            due = wrist.hostile_in_window is not None and invitation.window >= wrist.hostile_in_window
            if not due or f"hostile {wrist.name}" in self._done or not _is_too_long(times_minus(FACTOR, payload), plan):
                return payload
            self._done.add(f"hostile {wrist.name}")
        say(event="hostile", device=wrist.name, window=invitation.window, factor=-FACTOR)
        return times_minus(FACTOR, payload)

    def _mend(self, window: int) -> None:
        for name, back in tuple(self._back_in.items()):
            if window >= back:
                self._back(name, window)

    def _back(self, name: str, window: int) -> None:
        if self._back_in.pop(name, None) is not None:
            self.networks[name].switch(Mode.PASS_ON)
            say(event="back", device=name, window=window)


def _is_too_long(payload: bytes, plan: Plan) -> bool:
    update = read(payload, plan)
    return not fits(update.multiplier, update.sum_of_squares, bound_of(plan))


def times_minus(factor: int, payload: bytes) -> bytes:
    """A payload's update times −factor: its multiplier grows, and every level changes its sign."""
    multiplier = int.from_bytes(payload[:4], "little") * factor
    return multiplier.to_bytes(4, "little") + (~np.frombuffer(payload, np.uint8, offset=4)).tobytes()


def say(**event: object) -> None:
    """One event for whoever watches this process."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def live(wrist: Wrist, misfortunes: Misfortunes) -> None:
    """Run the device's script in this thread, until the process ends."""
    settings = {name: value for name, value in os.environ.items() if name == "MIZZLE_BROKER"} | wrist.environment
    if wrist.name in misfortunes.networks:
        settings["MIZZLE_BROKER"] = f"mqtt://127.0.0.1:{misfortunes.networks[wrist.name].port}"
    ENVIRONMENT.set(settings)
    MADE.set(partial(_arrange, wrist, misfortunes))
    runpy.run_module(wrist.script)


def _arrange(wrist: Wrist, misfortunes: Misfortunes, device: Device) -> None:
    device.on_trained = partial(misfortunes.trained, wrist)
    device.encode = partial(misfortunes.encode, wrist)
    device.connect = partial(_line, device, misfortunes.longest_pause_s)


def _line(device: Device, longest_pause_s: float, name: str, will: Will | None) -> Bus:
    return MqttBus(device.broker, name, password=device.password, will=will, max_backoff_s=longest_pause_s)


def main(path: Path) -> None:
    """Run the fleet that the file describes; the process ends when its parent ends it, or when a device falls."""
    faulthandler.enable()
    fleet = msgspec.json.decode(path.read_bytes(), type=Fleet)
    misfortunes = Misfortunes(fleet)
    for network in misfortunes.networks.values():
        network.__enter__()
    fallen = threading.Event()
    for wrist in fleet.wrists:
        run = partial(copy_context().run, _watched, wrist, misfortunes, fallen)
        threading.Thread(target=run, name=wrist.name, daemon=True).start()
    fallen.wait()
    os._exit(1)  # the other devices run in threads that nobody can stop; their outboxes are made for this


def _watched(wrist: Wrist, misfortunes: Misfortunes, fallen: threading.Event) -> None:
    try:
        live(wrist, misfortunes)
    finally:
        fallen.set()


if __name__ == "__main__":
    if any("torch" in wrist["script"] for wrist in json.loads(Path(sys.argv[1]).read_bytes())["wrists"]):
        import torch

        torch.set_num_threads(1)
    main(Path(sys.argv[1]))
