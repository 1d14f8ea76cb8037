"""What a device's doctor finds on brokers that are not as they should be, and in a home without anything behind it."""

import subprocess
from pathlib import Path

import pytest

from mizzle import topics
from mizzle.codec import decode
from mizzle.device.doctor import Way, examine
from mizzle.device.home import KEY, OUTBOX, PASSWORD, signing_key
from mizzle.device.outbox import Outbox
from mizzle.envelope import unseal
from mizzle.findings import Finding, reach
from mizzle.messages import Counted, Identity
from mizzle.transport.bus import Arrived
from mizzle.transport.listening import Listening
from mizzle.transport.mqtt_bus import MqttBus
from services.local import broker as brokers
from services.local.broker import Broker
from services.local.processes import Processes
from services.local.waiting import LOOPBACK, free_port, wait_for_port
from tests.commands import is_command
from tests.mizzle.device.federation import Federation
from tests.servers import missing

PATIENCE_S = 0.5


@pytest.fixture
def barn(federation: str) -> Federation:
    return Federation(name=federation)


@pytest.fixture
def home(barn: Federation, tmp_path: Path) -> Path:
    """The home of a device that is enrolled, and has a receipt of long ago."""
    tmp_path.chmod(0o700)
    key = signing_key(tmp_path)
    with Outbox(tmp_path / OUTBOX) as outbox:
        outbox.remember_identity(barn.identity("pump-7", key.public_key))
        outbox.keep(bytes(32), 1, b"sealed", b"payload")
        outbox.clear(bytes(32), barn.receipt("pump-7", bytes(32), Counted(release=1, window=1, weight=64)))
    return tmp_path


def found(home: Path, url: str, now: int = 2) -> dict[str, Finding]:
    findings = list(examine(home, url, lambda: now, PATIENCE_S))
    assert [finding for finding in findings if not finding.is_well and not is_command(finding.next)] == []
    return {finding.subject: finding for finding in findings}


def wrong(found: dict[str, Finding]) -> set[str]:
    return {subject for subject, finding in found.items() if not finding.is_well}


def test_a_broker_without_rules_lets_anybody_speak_for_anybody(home: Path, iotcore: Broker) -> None:
    findings = found(home, f"mqtt://{iotcore.host}:{iotcore.port}")
    assert wrong(findings) == {"acl", "gateway"}
    assert "anybody can speak for any device" in findings["acl"].what
    assert findings["acl"].next.startswith("mosquitto_pub -V 5 -L mqtt://")


def test_without_a_gateway_the_clock_is_compared_with_the_newest_receipt(home: Path, mosquitto: Broker) -> None:
    url = f"mqtt://{mosquitto.host}:{mosquitto.port}"
    assert wrong(found(home, url)) == {"gateway"}
    assert wrong(found(home, url, now=-60_000)) == {"gateway", "clock"}  # the receipt is of the instant 1


def test_a_broker_that_does_not_speak_mqtt_5_is_found(home: Path, children: Processes) -> None:
    if "iotcore" not in brokers.brokers():
        missing("iotcore")
    port = free_port()
    command = brokers.broker_command(children.folder / "old", port, "iotcore")
    config = children.folder / "old" / "iotcore.toml"
    config.write_text(config.read_text().replace("[v5.1", "[v4.1"))
    wait_for_port(port, children.start("old", command))
    findings = found(home, f"mqtt://{LOOPBACK}:{port}")
    assert wrong(findings) == {"broker"}
    assert findings["broker"].next == reach(LOOPBACK, port)


@pytest.mark.parametrize("retained", [True, False])
def test_what_a_gateway_said_before_it_died_does_not_make_it_alive(barn: Federation, *, retained: bool) -> None:
    """Its last heartbeat is retained, and the broker may not have noticed yet."""
    line = Listening(MqttBus("mqtt://127.0.0.1:1", "nobody"))
    identity = decode(unseal(barn.identity("pump-7", bytes(32))).header, Identity)
    line.hear(Arrived(topics.state(barn.name), b'{"gateway": "g", "state": "online", "at": 2}', retained))
    gateway, *_ = Way(line, identity, Path("/home/pump-7"), "mqtt://127.0.0.1:1", None, 0.0).gateway_found(
        None, lambda: 2
    )
    assert gateway.is_well is not retained


@pytest.mark.parametrize("mode", [0o777, 0o722])
def test_a_home_that_others_may_write_in_is_no_home(home: Path, mode: int) -> None:
    home.chmod(mode)
    findings = found(home, f"mqtt://{LOOPBACK}:{free_port()}")
    assert findings["home"].next == f"chmod 700 {home}"


def test_an_outbox_is_as_private_as_its_folder_or_itself(home: Path) -> None:
    """What waits in it has no noise yet."""
    nowhere = f"mqtt://{LOOPBACK}:{free_port()}"
    (home / OUTBOX).chmod(0o644)
    assert found(home, nowhere)["outbox"].is_well
    home.chmod(0o755)
    assert found(home, nowhere)["outbox"].next == f"chmod 600 {home / OUTBOX}"
    (home / OUTBOX).chmod(0o600)
    assert found(home, nowhere)["outbox"].is_well


def test_an_identity_that_nobody_of_the_federation_signed_is_none(home: Path, barn: Federation) -> None:
    with Outbox(home / OUTBOX) as outbox:
        stranger = Federation(name=barn.name)
        outbox.remember_identity(barn.identity("pump-7", signing_key(home).public_key, key=stranger.receipt_key))
    findings = found(home, f"mqtt://{LOOPBACK}:{free_port()}")
    assert "mizzle device enrol TOKEN" in findings["identity"].next
    assert "broker" not in findings


def test_a_file_that_is_no_outbox_is_said(home: Path) -> None:
    (home / OUTBOX).write_bytes(b"x" * 4096)
    assert found(home, f"mqtt://{LOOPBACK}:{free_port()}")["outbox"].next.endswith(f" --home {home}-new")


def test_a_key_that_is_gone_or_no_key_ends_in_a_new_home(home: Path) -> None:
    """The ledger knows the device by its key for ever."""
    nowhere = f"mqtt://{LOOPBACK}:{free_port()}"
    (home / KEY).write_bytes(b"short")
    anew = f"mizzle device enrol TOKEN --broker {nowhere} --home {home}-new"
    assert found(home, nowhere)["key"].next == anew
    (home / KEY).unlink()
    assert found(home, nowhere)["key"].next == anew


def test_an_address_that_names_somebody_else_is_said_and_nobody_elses_rights_are_tried(home: Path) -> None:
    findings = found(home, "mqtt://pump-8@[::1]:1")
    assert "names pump-8, and this is pump-7" in findings["broker"].what
    assert findings["broker"].next == f"mizzle doctor --broker 'mqtt://[::1]:1' --home {home}"
    assert wrong(findings) == {"broker"}


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_whether_anybody_listens_is_shown_by_a_command_that_is_there(home: Path, host: str) -> None:
    finding = found(home, f"mqtt://pump-7@{host}:1")["broker"]
    assert finding.next == reach(host.strip("[]"), 1)
    shown = subprocess.run(finding.next, shell=True, capture_output=True, text=True, check=False)  # noqa: S602  # as people run it
    assert "Connection refused" in shown.stderr or "Cannot assign" in shown.stderr


def test_a_password_that_others_may_read_or_that_is_none_is_said(home: Path, tmp_path: Path) -> None:
    nowhere = f"mqtt://{LOOPBACK}:{free_port()}"
    (home / PASSWORD).write_text("secret")
    (home / PASSWORD).chmod(0o644)
    assert found(home, nowhere)["password"].next == f"chmod 600 {home / PASSWORD}"
    (home / PASSWORD).chmod(0o600)
    assert "password" not in found(home, nowhere)
    (none,) = [one for one in examine(home, nowhere, password_file=tmp_path / "none") if one.subject == "password"]
    assert "cannot be read" in none.what
    assert not none.is_well
