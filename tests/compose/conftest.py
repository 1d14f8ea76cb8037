"""A project of docker-compose.yml that runs, once for all tests of a worker."""

import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mizzle.device.train import Device
from mizzle.transport.mqtt_bus import MqttBus
from services.local.janitor import workplace
from services.local.processes import Processes
from tests.compose.containers import SEARCHED, Composed, composed
from tests.servers import missing
from tests.services.plans import MODEL, TOML

FEDERATION = "pumps"
PUMPS = ("pump-1", "pump-2", "pump-3")
SERVERS = ("broker", "redis")
SERVICES = ("gateway", "selector", "anomaly-detector", "privacy-accountant", "aggregator", "releaser")


@dataclass(frozen=True)
class Running:
    """A project whose services are well, and devices that the operator let in."""

    project: Composed
    devices: tuple[Device, ...]
    tokens: tuple[str, ...]

    def password(self, account: str) -> str:
        """The one that the first start made for this service account at the broker."""
        return (self.project.volume(f"{account}-secrets") / "broker.password").read_text().strip()

    def line(self, user: str, password: str | None) -> MqttBus:
        """A line of a second client with this account."""
        url = f"mqtt://{user}@127.0.0.1:{self.port}"
        return MqttBus(url, f"second-{user}", password=password, session_expiry_s=0)

    @property
    def port(self) -> int:
        """The broker's."""
        return self.project.ports["broker", 1883]


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    """The project after `docker compose up`, three tokens and the reload that the operator's command asks for."""
    for program in ("mosquitto", "mosquitto_rr", "redis-server"):
        if shutil.which(program, path=SEARCHED) is None:
            missing(program)
    with workplace() as folder, Processes(folder) as processes:
        project = composed(processes, planned(folder / "plan"))
        project.complete("setup")
        for name in SERVERS:
            project.start(name)
        for name in SERVERS:
            project.wait_until_healthy(name)
        for name in SERVICES:
            project.start(name)
        for name in SERVICES:
            project.wait_until_healthy(name)
        tokens = tuple(token(project, name) for name in PUMPS)
        devices = tuple(
            Device(f"mqtt://127.0.0.1:{project.ports['broker', 1883]}", folder / name, token=line)
            for name, line in zip(PUMPS, tokens, strict=True)
        )
        threads = [threading.Thread(target=living, args=(device,), daemon=True) for device in devices]
        for thread in threads:
            thread.start()
        yield Running(project, devices, tokens)
        for device in devices:
            device.stop()
        for thread in threads:
            thread.join(10)


def planned(folder: Path) -> dict[str, str]:
    """The variables of a deployment with a small plan of its own, which is written into `folder`."""
    folder.mkdir()
    text = TOML.format(goal=3, late="fold", noise=2.0, budget=1e6, crowd=2, windows="", staleness=2)
    # Ten releases a second would be gone from the broker, which keeps sixteen, before a test has read one.
    (folder / "plan.toml").write_text(text.replace("deadline_s", "pause_s = 1.0\ndeadline_s"))
    (folder / "w.safetensors").write_bytes(MODEL)
    return {"MIZZLE_PLAN_FOLDER": str(folder), "MIZZLE_FEDERATION": FEDERATION}


def token(project: Composed, device: str) -> str:
    """A token by the operator's command, and then the command that it says to run."""

    done = project.run("operator", "token", device)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().endswith("docker compose kill -s HUP broker")
    project.processes["broker"].kill(signal.SIGHUP)
    return done.stdout.strip()


def living(device: Device) -> None:
    """The shortest training loop there is, until the device is told to stop."""
    device.train(lambda task: {"w": task.weights["w"] + np.float32(0.1)})
    device.run()
