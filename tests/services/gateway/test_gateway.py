"""The gateway as a process, on a real mosquitto, Redis and ledger, with a device by script."""

import asyncio
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save

from mizzle import blobs, topics
from mizzle.envelope import Purpose, unseal
from mizzle.manifest import authentic, cloud_event, sign
from mizzle.messages import Answer, Message, Received, Sighting, Unauthenticated
from mizzle.releases import Place, Trust, follow, follow_bus
from mizzle.topics import Up
from mizzle.transport.mqtt_bus import MqttBus
from services.ledger.keys import read
from services.local.broker import Broker, start_broker
from services.local.child import Child
from services.local.processes import Processes
from services.local.store import start_store
from services.pipeline import STRAY
from services.runtime.payloads import Spool
from services.runtime.redis_log import MOST_LETTERS, Output, RedisLog
from tests.mqtt import Peer, Said
from tests.servers import need_broker
from tests.services.gateway.devices import Device
from tests.services.grounds import Ear, Grounds, enrol, founded, model_of, python, release, surroundings

PUMP = Device()
PAYLOAD = b"levels" * 10
MIB = 2**20
COMMAND = python("services.gateway")


class Barn:
    """A federation whose gateway and broker can be started, killed and looked at."""

    def __init__(self, grounds: Grounds, broker: Broker, children: Processes) -> None:
        self.grounds, self.broker, self.children = grounds, broker, children
        self.name = grounds.plan.federation
        self.pump = replace(PUMP, federation=self.name)
        self.spool = Spool(grounds.folder / "payloads", 2**30)
        enrol(grounds, self.pump.name, self.pump.key.public_key)

    def open_gate(self, **more: str) -> Child:
        """Start the gateway, and wait until it says that it is there."""
        child = self.children.start("gateway", COMMAND, {**self.grounds.environ, **more})
        self.wait_for_state("online")
        return child

    def wait_for_state(self, state: str) -> None:
        with Peer(self.broker.port, "watcher") as watcher:
            watcher.subscribe(topics.state(self.name))
            while json.loads(watcher.next().payload)["state"] != state:
                pass

    def blob(self, digest: bytes) -> bytes | None:
        """The blob that stands at the broker, if all its pieces do."""
        assembly = blobs.Assembly(digest)
        with Peer(self.broker.port, "reader") as reader:
            reader.subscribe(topics.every_piece(self.name, digest))
            for said in reader.heard():
                parsed = topics.parse_blob(said.topic)
                if not said.payload:  # it is taken down just now
                    return None
                if parsed and (whole := assembly.add(parsed[1], said.payload)) is not None:
                    return whole
        return None

    def announced(self) -> int | None:
        """The version of the release that stands at the broker."""
        with Peer(self.broker.port, "reader") as reader:
            reader.subscribe(topics.release(self.name))
            events = reader.heard()
        return int(json.loads(events[-1].payload)["subject"].removeprefix("release/")) if events else None

    def letters(self) -> list[dict[str, Any]]:
        """The gateway's dead letters, oldest first."""
        log = self.grounds.log("gateway")
        rows: Any = log._client.xrange(log._space.stream(STRAY))
        return [msgspec.msgpack.decode(fields[b"m"]) for _, fields in rows]

    def health(self) -> int:
        run = subprocess.run([*COMMAND, "health"], env=surroundings(self.grounds), capture_output=True, check=False)
        return run.returncode


@pytest.fixture
def barn(folder: Path, federation: str, redis_url: str, children: Processes) -> Barn:
    return made(folder, federation, redis_url, children)


def made(folder: Path, federation: str, redis_url: str, children: Processes, parameters: int = 15) -> Barn:
    broker = need_broker(children, "mosquitto")
    model = save({"weight": np.zeros(parameters, np.float32)})
    url = f"mqtt://{broker.host}:{broker.port}"
    return Barn(founded(folder, federation, redis_url, url, model), broker, children)


def wait_until(claim: Callable[[], bool], timeout_s: float = 10.0) -> None:
    until = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < until


def test_a_release_at_the_broker_that_the_ledger_does_not_know_is_told_and_not_replaced(barn: Barn) -> None:
    """Somebody has put an older ledger back by hand: the world has seen version 7, and the ledger version 1."""
    known = release(barn.grounds, 1)
    said = authentic(known.manifest, [barn.grounds.founded.public_keys["release"]], barn.name)
    key = read(barn.grounds.folder / "keys", "release")
    lost = sign(msgspec.structs.replace(said, version=7, window=9), key.sign, key.public_key)
    event = cloud_event(barn.name, lost, msgspec.structs.replace(said, version=7, window=9))
    with Peer(barn.broker.port, "gateway-delivery") as earlier:
        earlier.publish(topics.release(barn.name), event, retain=True)
    ear = Ear(barn.grounds, "privacy_accountant")
    barn.open_gate()
    assert ear.next() == Sighting(manifest=lost)
    wait_until(lambda: barn.blob(known.model.digest) is not None)
    assert barn.announced() == 7


def test_an_update_is_received_once_its_payload_is_stored(barn: Barn) -> None:
    barn.open_gate()
    (part,) = barn.pump.parts(PAYLOAD)
    with Peer(barn.broker.port, "pump-7") as device:
        assert device.publish(barn.pump.topic(Up.UPDATE), part) == "Success"
    message = Ear(barn.grounds, "anomaly_detector").next()
    assert isinstance(message, Received)
    assert message == Received(id=unseal(part).id, update=barn.pump.update(PAYLOAD), sealed=part[: unseal(part).size])
    assert barn.spool.get(message.id) == PAYLOAD


def test_each_kind_of_message_goes_to_whom_it_concerns(barn: Barn) -> None:
    barn.open_gate()
    pump, stranger = barn.pump, Device("mill-1", barn.name, 3)
    with Peer(barn.broker.port, "pump-7") as device, Peer(barn.broker.port, "mill-1") as other:
        device.publish(pump.topic(Up.PRESENCE), pump.sealed(pump.presence(), Purpose.PRESENCE), retain=True)
        device.publish(pump.topic(Up.DECLINE), pump.sealed(pump.decline(), Purpose.DECLINE))
        other.publish(stranger.topic(Up.ENROL), stranger.sealed(stranger.enrolment(), Purpose.ENROLMENT))
        other.publish(stranger.topic(Up.UPDATE), stranger.parts(PAYLOAD)[0])
    selector, accountant = Ear(barn.grounds, "selector"), Ear(barn.grounds, "privacy_accountant")
    assert [selector.next(), selector.next()] == [pump.presence(), pump.decline()]
    found: list[Message] = [accountant.next(), accountant.next()]
    assert stranger.enrolment() in found
    assert Unauthenticated(device="mill-1", reason="unknown") in found


def test_what_is_not_taken_is_a_dead_letter_with_its_reason(barn: Barn) -> None:
    barn.open_gate()
    bodies = [b"", bytes(2 * MIB // 3), barn.pump.parts(PAYLOAD)[0][:-1]]
    with Peer(barn.broker.port, "pump-7") as device:
        for body in bodies:
            device.publish(barn.pump.topic(Up.UPDATE), body)
    accountant = Ear(barn.grounds, "privacy_accountant")
    heard = [accountant.next() for _ in bodies]
    letters = barn.letters()
    reasons = ["unreadable", "unreadable", "payload"]
    assert heard == [Unauthenticated(device="pump-7", reason=reason) for reason in reasons]
    assert [letter["reason"] for letter in letters] == reasons
    assert [(letter["size"], letter["begins"]) for letter in letters] == [(len(body), body[:100]) for body in bodies]
    assert {letter["topic"] for letter in letters} == {barn.pump.topic(Up.UPDATE)}
    assert all(letter["why"] for letter in letters)


def test_strays_push_out_strays_alone_and_stop_nobody(barn: Barn) -> None:
    log, most = barn.grounds.log("gateway"), MOST_LETTERS[STRAY]
    few = RedisLog(log._client, log._space, log._hop, most_waiting=10)
    for _ in range(3):
        few.append([Output(STRAY, b"x")] * most)
    assert most <= log._client.xlen(log._space.stream(STRAY)) < 1.1 * most


def test_a_device_that_enrols_is_heard_from_then_on(barn: Barn) -> None:
    barn.open_gate()
    mill = Device("mill-1", barn.name, 3)
    accountant, detector = Ear(barn.grounds, "privacy_accountant"), Ear(barn.grounds, "anomaly_detector")
    with Peer(barn.broker.port, "mill-1") as device:
        device.publish(mill.topic(Up.UPDATE), mill.parts(PAYLOAD)[0])
        assert accountant.next() == Unauthenticated(device="mill-1", reason="unknown")
        enrol(barn.grounds, "mill-1", mill.key.public_key)
        device.publish(mill.topic(Up.UPDATE), mill.parts(PAYLOAD)[0])
        assert isinstance(detector.next(), Received)


def test_an_answer_reaches_its_device_and_the_payload_of_what_it_ends_goes(barn: Barn) -> None:
    barn.open_gate()
    barn.spool.put(bytes(32), PAYLOAD)
    receipt = Answer(device="pump-7", kind="receipt", sealed=b"signed", ends=bytes(32))
    with Peer(barn.broker.port, "pump-7") as device:
        device.subscribe(topics.every_to(barn.name, "pump-7"))
        barn.grounds.say("answered", receipt)
        assert device.next() == Said(topics.to(barn.name, "pump-7", "receipt"), b"signed")
    wait_until(lambda: barn.spool.get(bytes(32)) is None)


def test_plan_and_first_model_stand_at_the_broker_from_the_start(barn: Barn) -> None:
    barn.open_gate()
    plan = barn.grounds.plan
    wait_until(lambda: barn.blob(plan.model.digest) == barn.grounds.model)
    assert barn.blob(plan.digest) == plan.canonical


def test_a_follower_gets_every_release_verified_and_in_order(barn: Barn) -> None:
    barn.open_gate()
    for version in (1, 2, 3):
        barn.grounds.say("released", release(barn.grounds, version))
    wait_until(lambda: barn.announced() == 3)
    key = barn.grounds.founded.public_keys["release"]

    async def versions() -> list[int]:
        found = []
        async for one in follow(f"mqtt://127.0.0.1:{barn.broker.port}", barn.name, key):
            assert one.model == model_of(barn.grounds, one.version)
            found.append(one.version)
            if one.version == 3:
                break
        return found

    assert asyncio.run(asyncio.wait_for(versions(), 20)) == [1, 2, 3]


def test_a_release_is_announced_as_a_cloudevent_by_its_media_type(barn: Barn) -> None:
    """[CloudEvents 1.0, MQTT Protocol Binding §3.2]: in structured mode the Content Type property names the format."""
    barn.open_gate()
    barn.grounds.say("released", release(barn.grounds, 1))
    with Peer(barn.broker.port, "reader") as reader:
        reader.subscribe(topics.release(barn.name))
        said = reader.next()
    assert said.content_type == "application/cloudevents+json; charset=utf-8"
    assert json.loads(said.payload)["specversion"] == "1.0"


def test_a_follower_that_was_away_for_longer_than_releases_are_kept_is_told_of_the_gap(barn: Barn) -> None:
    barn.open_gate(MIZZLE_KEEP_RELEASES="2")
    made = [release(barn.grounds, version) for version in (1, 2, 3, 4)]
    barn.grounds.say("released", *made)
    wait_until(lambda: barn.announced() == 4 and barn.blob(made[1].manifest_digest) is None)
    bus = MqttBus(f"mqtt://127.0.0.1:{barn.broker.port}", "follower", session_expiry_s=0)
    trust = Trust(barn.name, barn.grounds.founded.public_keys["release"])

    async def found() -> list[tuple[int, bool]]:
        async with aclosing(follow_bus(bus, trust, Place(1), patience_s=1.0)) as releases:
            return [(one.version, one.gap) for one in (await anext(releases), await anext(releases))]

    assert asyncio.run(asyncio.wait_for(found(), 20)) == [(3, True), (4, False)]


def test_an_older_release_that_is_told_again_does_not_replace_the_newest(barn: Barn) -> None:
    first = release(barn.grounds, 1)
    release(barn.grounds, 2)
    barn.open_gate()
    wait_until(lambda: barn.announced() == 2)
    barn.grounds.say("answered", Answer(device="pump-7", kind="receipt", sealed=b"before"))
    barn.grounds.say("released", first)
    with Peer(barn.broker.port, "pump-7") as device:
        device.subscribe(topics.every_to(barn.name, "pump-7"))
        barn.grounds.say("answered", Answer(device="pump-7", kind="receipt", sealed=b"after"))
        while device.next().payload != b"after":
            pass
    assert barn.announced() == 2


def test_releases_older_than_those_kept_are_taken_down(barn: Barn) -> None:
    barn.open_gate(MIZZLE_KEEP_RELEASES="2")
    made = [release(barn.grounds, version) for version in (1, 2, 3)]
    barn.grounds.say("released", *made)
    wait_until(lambda: barn.blob(made[2].model.digest) is not None and barn.blob(made[0].manifest_digest) is None)
    assert [barn.blob(one.model.digest) is not None for one in made] == [False, True, True]
    assert [barn.blob(one.manifest_digest) for one in made] == [None, made[1].manifest, made[2].manifest]
    wait_until(lambda: barn.blob(barn.grounds.plan.model.digest) == barn.grounds.model)


def test_a_broker_that_lost_everything_gets_it_again(barn: Barn) -> None:
    barn.open_gate()
    newest = release(barn.grounds, 1)
    barn.grounds.say("released", newest)
    wait_until(lambda: barn.announced() == 1)
    barn.children["broker"].kill()
    barn.children["broker"].wait(5)
    shutil.rmtree(barn.grounds.folder / "broker")
    start_broker(barn.children, "mosquitto", port=barn.broker.port)
    wait_until(lambda: barn.announced() == 1)
    assert barn.blob(newest.model.digest) == model_of(barn.grounds, 1)
    assert barn.blob(newest.manifest_digest) == newest.manifest
    assert barn.blob(barn.grounds.plan.digest) == barn.grounds.plan.canonical
    with Peer(barn.broker.port, "pump-7") as device:
        # The gateway receives on a line of its own: until that is back, the broker says that nobody listens.
        part = barn.pump.parts(PAYLOAD)[0]
        wait_until(lambda: device.publish(barn.pump.topic(Up.UPDATE), part) == "Success")
    assert isinstance(Ear(barn.grounds, "anomaly_detector").next(), Received)


def test_what_is_published_while_the_gateway_is_dead_is_received_when_it_is_back(barn: Barn) -> None:
    child = barn.open_gate()
    child.kill(signal.SIGKILL)
    child.wait(5)
    with Peer(barn.broker.port, "pump-7") as device:
        device.publish(barn.pump.topic(Up.UPDATE), barn.pump.parts(PAYLOAD)[0])
    barn.children.restart("gateway")
    assert isinstance(Ear(barn.grounds, "anomaly_detector").next(), Received)


def test_an_update_is_acknowledged_only_once_the_stream_has_it(
    folder: Path, federation: str, children: Processes
) -> None:
    """Redis stands still while the gateway holds the update, and the gateway dies: the broker must still have it."""
    barn = made(folder, federation, start_store(children), children)
    child = barn.open_gate()
    part = barn.pump.parts(PAYLOAD)[0]
    barn.children["store"].kill(signal.SIGSTOP)
    with Peer(barn.broker.port, "pump-7") as device:
        device.publish(barn.pump.topic(Up.UPDATE), part)
        wait_until(lambda: barn.spool.get(unseal(part).id) is not None)
        with Peer(barn.broker.port, "gateway-delivery") as later:  # whatever was acknowledged is out by now
            later.publish(topics.to(barn.name, "pump-7", "receipt"), b"one round trip through the broker")
    child.kill(signal.SIGKILL)
    child.wait(5)
    barn.children["store"].kill(signal.SIGCONT)
    barn.children.restart("gateway")
    assert isinstance(Ear(barn.grounds, "anomaly_detector").next(), Received)


def test_the_state_says_whether_the_gateway_is_there(barn: Barn) -> None:
    child = barn.open_gate()
    child.kill(signal.SIGTERM)
    assert child.wait(10) == 0
    barn.wait_for_state("offline")
    child = barn.children.restart("gateway")
    barn.wait_for_state("online")
    child.kill(signal.SIGKILL)
    barn.wait_for_state("offline")


def test_a_line_that_carries_nothing_fails_health_within_10_s(barn: Barn) -> None:
    barn.open_gate()
    wait_until(lambda: barn.health() == 0)
    barn.children["broker"].kill(signal.SIGSTOP)
    wait_until(lambda: barn.health() == 10)
    barn.children["broker"].kill(signal.SIGCONT)
    wait_until(lambda: barn.health() == 0)


def test_presence_is_heard_again_when_redis_has_forgotten_it(barn: Barn) -> None:
    barn.open_gate()
    pump = barn.pump
    with Peer(barn.broker.port, "pump-7") as device:
        device.publish(pump.topic(Up.PRESENCE), pump.sealed(pump.presence(), Purpose.PRESENCE), retain=True)
        assert Ear(barn.grounds, "selector").next() == pump.presence()
        barn.grounds.log("gateway")._client.flushall()
        assert Ear(barn.grounds, "selector").next() == pump.presence()


def test_a_full_payload_store_stops_the_reading_and_loses_nothing(
    folder: Path, federation: str, redis_url: str, children: Processes
) -> None:
    """More waits at the broker than may be unacknowledged, so even the acknowledgements of answers must wait."""
    barn = made(folder, federation, redis_url, children, parameters=100_000)
    barn.open_gate(MIZZLE_PAYLOAD_BYTES=str(MIB))
    detector, count = Ear(barn.grounds, "anomaly_detector"), 60
    payloads = [bytes([number]) * 400_000 for number in range(count)]
    with ExitStack() as peers:
        device = peers.enter_context(Peer(barn.broker.port, "pump-7"))
        for number, payload in enumerate(payloads):
            for part in barn.pump.parts(payload, nonce=bytes([number]) * 16):
                device.publish(barn.pump.topic(Up.UPDATE), part)
        found = []
        for number in range(count):
            message = detector.next()
            assert isinstance(message, Received)
            assert barn.spool.get(message.id) == payloads[number]
            found.append(message.update.nonce[0])
            barn.grounds.say("answered", Answer(device="pump-7", kind="receipt", sealed=b"x", ends=message.id))
    assert found == list(range(count))
    assert "the intake waits" in barn.children["gateway"].log.read_text()
