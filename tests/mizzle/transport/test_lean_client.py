"""Of a PUBLISH the topic, the id and the body are read; whatever stands beside them harms nobody."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizzle import topics
from mizzle.topics import Up
from mizzle.transport.bus import Arrived, Connected
from mizzle.transport.lean_client import Publish, read
from mizzle.transport.mqtt_bus import MqttBus
from services.local.broker import Broker
from tests import wire
from tests.mizzle.transport.worlds import Heard
from tests.wire import Wire, user_property

BESIDE = {
    "text that paho refuses": user_property("a", "b\ufeffc"),
    "a content type that paho refuses": wire.CONTENT_TYPE + wire.text("a\ufeff"),
    "200,000 empty properties": user_property("", "") * 200_000,
    "a property as long as it may be": user_property("a" * 65_535, "b" * 65_535),
    "where to answer, and a correlation": wire.RESPONSE_TOPIC + wire.text("t") + wire.CORRELATION + wire.text(b"\xff"),
}


@given(st.text(max_size=200), st.binary(max_size=500), st.binary(max_size=40_000), st.integers(0, 65_535))
def test_what_was_written_is_read(topic: str, body: bytes, properties: bytes, mid: int) -> None:
    packet = wire.publish(topic, body, properties, mid)
    rest = packet[1 + len(wire.number(len(packet) - 2)) :]
    rest = packet[next(at for at in range(1, 6) if packet[at] < 0x80) + 1 :]
    assert read(packet[0], bytearray(rest)) == Publish(topic, body, 1, retain=False, mid=mid, size=len(rest))


def test_at_qos_0_there_is_no_id() -> None:
    assert read(0x31, b"\0\1t\0body") == Publish("t", b"body", 0, retain=True, mid=0, size=8)


def test_a_topic_that_is_no_text_is_heard_all_the_same() -> None:
    assert read(0x30, b"\0\2\xff/\0").topic == "\ufffd/"


@pytest.mark.parametrize("name", BESIDE)
def test_what_stands_beside_a_body_stops_nobody(mosquitto: Broker, federation: str, name: str) -> None:
    """The next message comes on the same connection, and soon: neither is the first one read over and over."""
    bus, heard = MqttBus(f"mqtt://{mosquitto.host}:{mosquitto.port}", "gateway", manual_ack=True), Heard()
    bus.subscribe(topics.every_up(federation))
    bus.open(heard)
    try:
        heard.next(Connected)
        with Wire(mosquitto.port, "pump-7") as device:
            topic = topics.up(federation, "pump-7", Up.PROBE)
            while device.publish(topic, b"is anybody there"):  # 0x10: nobody has subscribed yet
                pass
            began = time.process_time()
            device.publish(topic, b"beside", BESIDE[name])
            device.publish(topic, b"after")
            assert heard.next(Arrived, lambda arrived: arrived.body == b"beside").token
            after = heard.next(Arrived, lambda arrived: arrived.body == b"after")
            assert after.token
            assert after.token.generation == 1
            assert time.process_time() - began < 1
    finally:
        bus.close()
