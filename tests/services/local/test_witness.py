"""A witness hears what is said to one device alone, writes it as the judge reads it, and can say an update again."""

import json
import time
from base64 import b64decode
from pathlib import Path

import pytest

from mizzle import topics
from mizzle.topics import Up
from services.local.broker import Broker, brokers, start_broker
from services.local.processes import Processes
from services.local.witness import NAME, Witness
from tests.mqtt import Peer
from tests.servers import missing

PATIENCE_S = 10.0


@pytest.fixture
def watched(children: Processes) -> Broker:
    """A broker that lets the witness hear everything."""
    if "mosquitto" not in brokers():
        missing("mosquitto")
    return start_broker(children, "mosquitto", witness=NAME)


def test_what_is_said_is_written_and_can_be_said_again(watched: Broker, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    to, up = topics.to("pumps", "pump-1", "receipt"), topics.up("pumps", "pump-1", Up.UPDATE)
    address = f"mqtt://127.0.0.1:{watched.port}"
    with Peer(watched.port, "gateway") as gateway, Peer(watched.port, "pump-1") as device:
        gateway.publish(to, b"a receipt", retain=True)
        with Witness(address, "pumps", trace) as witness:
            until(witness, trace, 1)
            device.publish(up, b"an update")
            until(witness, trace, 2)
            assert witness.say_again(5) == 1
            until(witness, trace, 3)
    heard = [json.loads(line) for line in trace.read_text().splitlines()]
    assert [(one["topic"], b64decode(one["body"])) for one in heard] == [
        (to, b"a receipt"),
        (up, b"an update"),
        (up, b"an update"),
    ]
    assert {type(one["at"]) for one in heard} == {int}


def test_nobody_else_hears_what_is_said_to_a_device(watched: Broker) -> None:
    with Peer(watched.port, "gateway") as gateway, Peer(watched.port, "pump-2") as other:
        other.subscribe("mz/#")
        gateway.publish(topics.to("pumps", "pump-1", "receipt"), b"a receipt")
        gateway.publish(topics.to("pumps", "pump-2", "receipt"), b"its own")
        assert other.next().payload == b"its own"


def until(witness: Witness, trace: Path, lines: int) -> None:
    """Return once the witness has heard so much, which is at once or soon."""
    end = time.monotonic() + PATIENCE_S
    while len(trace.read_text().splitlines()) < lines:
        witness.written()
        assert time.monotonic() < end
