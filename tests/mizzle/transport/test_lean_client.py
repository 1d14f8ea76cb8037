"""Of a PUBLISH the topic, the id and the body are read; whatever stands beside them harms nobody."""

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mizzle import topics
from mizzle.topics import Up
from mizzle.transport.bus import Arrived, Connected
from mizzle.transport.lean_client import READS_AT_ONCE, Incoming, Publish, read
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


def told(incoming: Incoming, piece: bytes) -> list[tuple[int, bytes]]:
    """The packets that are whole once this has come, all of it at once or as much as there is room for."""
    found, left = [], piece

    def recv_into(room: memoryview) -> int:
        nonlocal left
        count = min(len(room), len(left))
        room[:count], left = left[:count], left[count:]
        return count

    while left:
        assert incoming.fill(recv_into) > 0
        while (came := incoming.packet()) is not None:
            found.append((came[0], bytes(came[1])))
    return found


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from([0x32, 0x40, 0x20]), st.integers(0, 200_000)), max_size=12),
    st.lists(st.integers(1, 150_000), min_size=1, max_size=20),
)
def test_packets_are_whole_whatever_pieces_they_come_in(packets: list[tuple[int, int]], cuts: list[int]) -> None:
    wanted = [(first, bytes([index]) * size) for index, (first, size) in enumerate(packets)]
    stream = b"".join(bytes([first]) + wire.number(len(body)) + body for first, body in wanted)
    incoming, found, at = Incoming(), [], 0
    for cut in itertools.cycle(cuts):
        if at >= len(stream):
            break
        found += told(incoming, stream[at : at + cut])
        at += cut
    assert found == wanted


def test_packets_are_whole_if_each_byte_comes_alone() -> None:
    incoming = Incoming()
    stream = b"".join(bytes([0x40]) + wire.number(size) + bytes(size) for size in (0, 2, 130, 300))
    pieces = [told(incoming, stream[at : at + 1]) for at in range(len(stream))]
    assert [len(body) for found in pieces for _, body in found] == [0, 2, 130, 300]


def test_a_length_alone_takes_no_room() -> None:
    """A packet may claim 256 MB: there is never more room for the rest of it than has come."""
    incoming, offered = Incoming(), []

    def recv_into(room: memoryview) -> int:
        offered.append(len(room))
        return 100

    assert told(incoming, bytes([0x32]) + wire.number(2**28 - 1)) == []
    for _ in range(3 * READS_AT_ONCE // 100):
        incoming.fill(recv_into)
    assert all(room <= max(READS_AT_ONCE, 5 + 100 * fills) for fills, room in enumerate(offered))


def test_a_length_that_goes_on_for_ever_is_none() -> None:
    with pytest.raises(ValueError, match="four bytes"):
        told(Incoming(), b"\x32\xff\xff\xff\xff\x01")


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
