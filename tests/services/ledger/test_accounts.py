"""The broker's password file: mosquitto itself says who is let in."""

import hashlib
import hmac
import signal
import stat
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import pytest

from mizzle import topics
from mizzle.device.enrol import broker_password
from mizzle.transport.bus import BusEvent, Connected, Disconnected, Sent
from mizzle.transport.mqtt_bus import MqttBus
from services.ledger.accounts import ITERATIONS, admit, entry, matches
from services.local.broker import CONFIG, broker_command, brokers
from services.local.child import Child
from services.local.processes import Processes
from services.local.waiting import free_port, wait_for_port
from tests.servers import missing

NOT_AUTHORIZED = 0x87


@dataclass
class Guarded:
    """A mosquitto with the rules of a deployment: a password for everybody."""

    port: int
    passwords: Path
    child: Child

    def says(self, user: str, password: str | None, topic: str = "") -> list[BusEvent]:
        """What a client of this name hears, until it is let in or refused, or has published to `topic`."""
        bus = MqttBus(f"mqtt://{user}@127.0.0.1:{self.port}", f"client-{user}", password=password, session_expiry_s=0)
        coming: SimpleQueue[BusEvent] = SimpleQueue()
        bus.open(coming.put)
        if topic:
            bus.publish(topic, b"x")
        end = (Disconnected, Sent) if topic else (Disconnected, Connected)
        heard = [coming.get(timeout=5)]
        while not isinstance(heard[-1], end):
            heard.append(coming.get(timeout=5))
        bus.close()
        return heard

    def lets_in(self, user: str, password: str | None) -> bool:
        """Whether the broker accepts this name with this password."""
        return isinstance(self.says(user, password)[0], Connected)

    def sent(self, user: str, password: str, topic: str) -> int:
        """The reason with which the broker answers a publication."""
        return next(event.reason for event in self.says(user, password, topic) if isinstance(event, Sent))


@pytest.fixture
def guarded(children: Processes) -> Guarded:
    if "mosquitto" not in brokers():
        missing("mosquitto")
    folder, port = children.folder / "broker", free_port()
    command = broker_command(folder, port, "mosquitto")
    passwords = folder / "passwords"
    admit(passwords, {"pump-1": "one", "pump-2": "two", "gateway": "three", "reader": "four"})
    text = (CONFIG / "compose.conf").read_text()
    text = text.replace("listener 1883", f"user root\nlistener {port} 127.0.0.1\nsocket_domain ipv4")
    text = text.replace("/var/lib/mizzle/secrets/broker/passwords", str(passwords))
    text = text.replace("/etc/mizzle/acl", str(folder / "acl")).replace("/etc/mizzle/both", str(CONFIG / "both"))
    text = text.replace("/var/lib/mizzle/broker/", f"{folder}/")
    (folder / "mosquitto.conf").write_text(text)
    child = children.start("broker", command)
    wait_for_port(port, child)
    return Guarded(port, passwords, child)


def test_the_broker_lets_in_who_has_an_account_and_its_password_and_nobody_else(guarded: Guarded) -> None:
    assert guarded.lets_in("pump-1", "one")
    assert not guarded.lets_in("pump-1", "two")
    assert not guarded.lets_in("pump-1", None)
    assert not guarded.lets_in("pump-3", "three")


def test_a_device_is_let_in_once_the_broker_has_read_its_line(guarded: Guarded) -> None:
    admit(guarded.passwords, {"pump-3": "new"})
    assert not guarded.lets_in("pump-3", "new")
    guarded.child.kill(signal.SIGHUP)
    until = time.monotonic() + 5
    while not (is_in := guarded.lets_in("pump-3", "new")) and time.monotonic() < until:
        pass
    assert is_in
    assert guarded.lets_in("pump-1", "one")


def test_a_device_publishes_under_its_own_name_only(guarded: Guarded) -> None:
    assert guarded.sent("pump-1", "one", topics.up("f", "pump-1", topics.Up.PRESENCE)) != NOT_AUTHORIZED
    assert guarded.sent("pump-1", "one", topics.up("f", "pump-2", topics.Up.PRESENCE)) == NOT_AUTHORIZED


def test_a_reader_publishes_nothing_not_even_as_a_device_of_its_name(guarded: Guarded) -> None:
    for topic in (
        topics.up("f", "reader", topics.Up.PRESENCE),
        topics.to("f", "pump-1", "receipt"),
        topics.release("f"),
        "x",
    ):
        assert guarded.sent("reader", "four", topic) == NOT_AUTHORIZED


def test_a_password_in_the_file_cannot_be_read_back_and_has_a_salt_of_its_own(tmp_path: Path) -> None:
    admit(tmp_path / "passwords", {"a": "the same", "b": "the same"})
    first, second = (tmp_path / "passwords").read_text().splitlines()
    assert first.partition(":")[2] != second.partition(":")[2]
    assert "the same" not in first + second
    assert stat.S_IMODE((tmp_path / "passwords").stat().st_mode) == 0o600


def test_admitting_again_changes_no_line_and_a_new_password_only_its_own(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    admit(file, {"a": "one", "b": "two"})
    before = file.read_text().splitlines()
    admit(file, {"a": "one", "b": "two"})
    assert file.read_text().splitlines() == before
    admit(file, {"b": "three"})
    after = file.read_text().splitlines()
    assert (after[0], matches(after[1], "three"), matches(after[1], "two")) == (before[0], True, False)


def test_an_entry_is_pbkdf2_as_mosquitto_writes_it() -> None:
    kind, iterations, salt, key = entry("a", "b", b"0123456789ab").split("$")[1:]
    assert (kind, iterations, salt, len(key)) == ("7", str(ITERATIONS), "MDEyMzQ1Njc4OWFi", 88)


def test_a_devices_password_is_derived_from_the_tokens_secret_and_does_not_show_it() -> None:
    secret = "0123456789abcdef0123456789abcdef"  # noqa: S105  # of no token
    mac = hmac.new(secret.encode(), b"mizzle/1/broker-password", hashlib.sha256).digest()
    assert broker_password(secret) == urlsafe_b64encode(mac).decode().rstrip("=")
    assert broker_password(secret) == "PrUgEqm7Vv6Vays-a_NcglTrHEfofoPt4fEuFFVrW0M"
