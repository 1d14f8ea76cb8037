"""A follower of a real broker: away for several releases, over the broker's end and its own, nothing is skipped."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from mizzle import topics
from mizzle.blobs import pieces
from mizzle.releases import Place, Release, Trust, follow, follow_bus
from mizzle.transport.mqtt_bus import MqttBus
from services.local.broker import Broker, start_broker
from services.local.processes import Processes
from tests.lives import CHECKOUT
from tests.mizzle.test_releases import FOR_EVER_H, KEY, Mirror, gaps, gateway, model, sha256, taken, versions
from tests.servers import need_broker

PATIENCE_S = 1.0


def url(broker: Broker) -> str:
    return f"mqtt://{broker.host}:{broker.port}"


def put(broker: Broker, mirror: Mirror, count: int) -> None:
    """Make releases and put them up, as the gateway does."""
    with gateway(broker) as mirror.gateway:
        mirror.release(count, expires_h=FOR_EVER_H)


def take_down(broker: Broker, mirror: Mirror, version: int) -> None:
    """Take a release's blobs down, as the gateway does with what is too old."""
    with gateway(broker) as mirror.gateway:
        for blob in (mirror.history.manifest(version), model(version)):
            for index, _ in enumerate(pieces(blob)):
                place = topics.blob(mirror.history.federation, sha256(blob), index)
                mirror.gateway.publish(place, b"", retain=True)


def follower(broker: Broker, federation: str, place: Place) -> AsyncGenerator[Release, None]:
    """`follow`, with less patience for what the broker does not have."""
    bus = MqttBus(url(broker), f"follower-{federation}", session_expiry_s=0)
    return follow_bus(bus, Trust(federation, KEY.public_key), place, patience_s=PATIENCE_S)


def test_who_was_away_gets_what_was_missed_oldest_first(broker: Broker, federation: str, tmp_path: Path) -> None:
    mirror = Mirror(federation)
    put(broker, mirror, 1)
    first = asyncio.run(taken(follow(url(broker), federation, KEY.public_key, folder=tmp_path), 1))
    put(broker, mirror, 4)
    missed = asyncio.run(taken(follow(url(broker), federation, KEY.public_key, since=1, folder=tmp_path), 4))
    assert (versions(first), versions(missed), gaps(missed)) == ([1], [2, 3, 4, 5], [])
    assert [release.model for release in missed] == [model(version) for version in (2, 3, 4, 5)]


def test_who_was_away_for_too_long_is_told_of_the_gap(
    broker: Broker, federation: str, caplog: pytest.LogCaptureFixture
) -> None:
    mirror = Mirror(federation)
    put(broker, mirror, 5)
    for version in (2, 3):
        take_down(broker, mirror, version)
    found = asyncio.run(taken(follower(broker, federation, Place(1)), 2))
    assert (versions(found), gaps(found)) == ([4, 5], [4])
    assert "the releases before 4 are not to be had" in caplog.text


def test_a_follower_goes_on_over_a_broker_that_has_forgotten_everything(
    children: Processes, federation: str, folder: Path
) -> None:
    """The gateway puts everything up again; the follower repeats nothing and skips nothing."""
    broker, mirror = need_broker(children, "mosquitto"), Mirror(federation)

    async def story() -> list[Release]:
        put(broker, mirror, 2)
        async with asyncio.timeout(20), aclosing(follower(broker, federation, Place())) as releases:
            found = [await anext(releases), await anext(releases)]
            coming = asyncio.ensure_future(anext(releases))
            restart(children, broker, folder)
            with gateway(broker) as mirror.gateway:
                for version in (1, 2):
                    mirror.put(version)
                mirror.release(2, expires_h=FOR_EVER_H)
            return [*found, await coming, await anext(releases)]

    found = asyncio.run(story())
    assert (versions(found), gaps(found)) == ([1, 2, 3, 4], [])


def restart(children: Processes, broker: Broker, folder: Path) -> None:
    """Kill the broker, and start it with nothing of what it knew."""
    children["broker"].kill()
    children["broker"].wait(5)
    (folder / "broker" / "mosquitto.db").unlink(missing_ok=True)
    start_broker(children, "mosquitto", port=broker.port)


def test_a_follower_that_is_killed_takes_up_where_it_was(mosquitto: Broker, federation: str, tmp_path: Path) -> None:
    """What it was given last may come once more, for nobody knows whether it was put to use; nothing is skipped."""
    mirror = Mirror(federation)
    put(mosquitto, mirror, 3)
    command = [sys.executable, "-m", "mizzle.cli", "release", "follow", "--json", federation, KEY.public_key.hex()]
    environment = {**os.environ, "MIZZLE_BROKER": url(mosquitto)}

    def lived(until: int) -> list[int]:
        """The versions that a life prints before it is killed, at this one."""
        argv = [*command, "--into", str(tmp_path)]
        with subprocess.Popen(argv, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE) as life:
            assert life.stdout is not None
            said = []
            while until not in said:
                said.append(json.loads(life.stdout.readline())["version"])
            life.send_signal(signal.SIGKILL)
            return said

    first = lived(3)
    put(mosquitto, mirror, 2)
    second = lived(5)
    assert first == [1, 2, 3]
    assert second in ([3, 4, 5], [4, 5])
    models = {path.name: path.read_bytes() for path in tmp_path.glob("*.safetensors")}
    assert models == {f"{version}.safetensors": model(version) for version in range(1, 6)}
