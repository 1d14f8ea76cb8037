"""Devices as programs: killed, idle, and many in one process."""

import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mizzle.device.train import ENVIRONMENT, MADE, Device
from mizzle.messages import Enrolment, Presence
from mizzle.transport.mqtt_bus import MqttBus
from services.local.broker import Broker
from services.local.child import Child
from services.local.processes import Processes
from tests.mizzle.device.federation import Federation
from tests.mizzle.device.fleet import receipts, waiting
from tests.mizzle.device.gateway import Delivered, Gateway

MOST_RESIDENT_KB = 60 * 1024
HAR = Path(__file__).parents[3] / "examples" / "watch-har"


@pytest.fixture
def barn(federation: str) -> Federation:
    return Federation(name=federation)


@pytest.fixture
def gateway(mosquitto: Broker, barn: Federation) -> Iterator[Gateway]:
    bus = MqttBus(url(mosquitto), "gateway", session_expiry_s=0)
    yield Gateway(bus, barn)
    bus.close()


def url(broker: Broker) -> str:
    return f"mqtt://{broker.host}:{broker.port}"


def started(children: Processes, broker: Broker, home: Path, token: str) -> Child:
    env = {"MIZZLE_BROKER": url(broker), "MIZZLE_HOME": str(home), "MIZZLE_TOKEN": token}
    return children.start("device", [sys.executable, "-m", "tests.mizzle.device.lone"], env)


def test_killed_and_started_again_it_sends_the_same_bytes_until_the_receipt(
    children: Processes, mosquitto: Broker, gateway: Gateway, barn: Federation, tmp_path: Path
) -> None:
    gateway.gives_receipts = False
    token = barn.token("pump-killed")
    device = started(children, mosquitto, tmp_path, token)
    gateway.heard.next(Presence, lambda presence: presence.online)
    gateway.invite("pump-killed", 1)
    first = gateway.heard.next(Delivered)
    device.kill(signal.SIGKILL)
    device.wait(5)
    assert waiting(tmp_path) == [(first.id, 1)]
    gateway.gives_receipts = True
    again = started(children, mosquitto, tmp_path, token)
    assert gateway.heard.next(Delivered) == first
    again.kill(signal.SIGTERM)
    assert again.wait(5) == 0
    assert len(gateway.heard.so_far(Enrolment)) == 1


def test_a_receipt_that_came_before_sigterm_is_in_the_outbox_of_a_device_that_ended_in_order(
    children: Processes, mosquitto: Broker, gateway: Gateway, barn: Federation, tmp_path: Path
) -> None:
    device = started(children, mosquitto, tmp_path, barn.token("pump-stopped"))
    gateway.heard.next(Presence, lambda presence: presence.online)
    gateway.invite("pump-stopped", 1)
    gateway.gives_receipts = False
    first = gateway.heard.next(Delivered)
    gateway.answer("pump-stopped", first.id)
    gateway.invite("pump-stopped", 2)  # what it is told comes in order: when it answers this, the receipt is cleared
    gateway.heard.next(Delivered)
    device.kill(signal.SIGTERM)
    assert device.wait(5) == 0
    assert [update for update, _ in receipts(tmp_path)] == [first.id]
    assert not gateway.heard.next(Presence, lambda presence: not presence.online).online


def test_an_idle_numpy_device_is_small(
    children: Processes, mosquitto: Broker, gateway: Gateway, barn: Federation, tmp_path: Path
) -> None:
    env = {
        "MIZZLE_BROKER": url(mosquitto),
        "MIZZLE_HOME": str(tmp_path),
        "MIZZLE_TOKEN": barn.token("pump-idle"),
        "WATCH_WRIST": "3-left",
    }
    device = children.start("device", [sys.executable, "-m", "examples.device_numpy"], env)
    gateway.heard.next(Presence, lambda presence: presence.online)
    status = Path(f"/proc/{device.pid}/status").read_text()
    (resident,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert resident < MOST_RESIDENT_KB


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        ("import mizzle", {"numpy", "paho", "sqlite3", "nacl", "msgspec"}),
        ("import mizzle; mizzle.environment()", {"numpy", "paho", "sqlite3", "nacl", "msgspec"}),
        ("import mizzle; mizzle.Device, mizzle.Decline", {"typer", "rich", "asyncio"}),
    ],
)
def test_importing_the_device_brings_nothing_that_it_does_not_need(program: str, absent: set[str]) -> None:
    shown = f"{program}; import sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    answer = subprocess.run([sys.executable, "-c", shown], check=True, capture_output=True, text=True)
    heavy = {"torch", "redis", "sqlalchemy", "cryptography", "opacus", "scipy", "services"}
    assert set(answer.stdout.split()) & (heavy | absent) == set()


def test_ten_devices_live_in_threads_of_one_process_each_from_its_own_environment(
    mosquitto: Broker, tmp_path: Path
) -> None:
    """The example is what runs: by its module, since running a path swaps `sys.argv` under the other threads."""
    har = Federation(
        name="watch-har",
        toml=(HAR / "plan.toml").read_text().replace("deadline_s = 6.0", "deadline_s = 60.0"),
        model=(HAR / "mlp-36-64-7.safetensors").read_bytes(),
    )
    bus = MqttBus(url(mosquitto), "gateway", session_expiry_s=0)
    gateway = Gateway(bus, har)
    names = [f"{person}-{side}" for person in range(3, 8) for side in ("left", "right")]
    devices: list[Device] = []

    def live(name: str) -> None:
        MADE.set(devices.append)
        home = tmp_path / name
        token = har.token(name)
        wanted = {"MIZZLE_BROKER": url(mosquitto), "MIZZLE_HOME": str(home), "MIZZLE_TOKEN": token, "WATCH_WRIST": name}
        ENVIRONMENT.set(wanted)
        runpy.run_module("examples.device_numpy")

    threads = [threading.Thread(target=live, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for _ in names:
        gateway.invite(gateway.heard.next(Presence, lambda presence: presence.online).device, 1)
    delivered = {gateway.heard.next(Delivered).device for _ in names}
    for device in devices:
        device.stop()
    for thread in threads:
        thread.join(10)
    bus.close()
    assert (sorted(delivered), any(thread.is_alive() for thread in threads)) == (names, False)
