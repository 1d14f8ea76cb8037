"""What the bus over MQTT does beyond the promises of every bus: limits, refusals and time."""

import threading
import time
from collections.abc import Iterator

import pytest

from mizzle import topics
from mizzle.errors import Misconfigured
from mizzle.topics import Up
from mizzle.transport.bus import LINE_LOST, Arrived, Connected, Disconnected, Sent
from mizzle.transport.mqtt_bus import MqttBus
from services.local.broker import Broker
from services.local.faults import FaultProxy, Mode
from services.local.waiting import free_port
from tests.mizzle.transport.worlds import Heard
from tests.mqtt import Peer

DEVICE = "pump-limits"


@pytest.fixture
def update(federation: str) -> str:
    return topics.up(federation, DEVICE, Up.UPDATE)


@pytest.fixture
def proxy(mosquitto: Broker) -> Iterator[FaultProxy]:
    with FaultProxy(mosquitto.port) as proxy:
        yield proxy


def line(port: int, *, queue_bytes: int = 2**20 * 8, max_backoff_s: float = 0.1) -> MqttBus:
    url = f"mqtt://127.0.0.1:{port}"
    return MqttBus(url, DEVICE, session_expiry_s=0, queue_bytes=queue_bytes, max_backoff_s=max_backoff_s, goodbye_s=0.3)


def test_a_media_type_goes_with_what_is_published_and_none_where_none_is_named(broker: Broker, federation: str) -> None:
    topic = topics.release(federation)
    bus = MqttBus(f"mqtt://127.0.0.1:{broker.port}", "gateway", session_expiry_s=0)
    with Peer(broker.port, DEVICE) as peer:
        peer.subscribe(topic)
        bus.open(lambda _: None)
        bus.publish(topic, b"{}", content_type="application/json")
        bus.publish(topic, b"{}")
        heard = [peer.next(), peer.next()]
    bus.close()
    assert [said.content_type for said in heard] == ["application/json", ""]


def test_what_is_longer_than_the_broker_takes_is_not_sent_and_the_line_stays(mosquitto: Broker, update: str) -> None:
    bus, heard = line(mosquitto.port), Heard()
    bus.open(heard)
    large = bus.publish(update, bytes(2**20))
    small = bus.publish(update, b"small")
    answers = {sent.mid: sent.reason for sent in (heard.next(Sent), heard.next(Sent))}
    bus.close()
    assert answers == {large: 0x95, small: 0x10}
    assert [event.why for event in heard.so_far(Disconnected)] == ["Normal disconnection"]


def test_what_finds_no_room_in_the_queue_is_told_and_what_found_room_is_sent(proxy: FaultProxy, update: str) -> None:
    bus, heard = line(proxy.port, queue_bytes=10_000), Heard()
    bus.open(heard)
    heard.next(Connected)
    proxy.switch(Mode.CUT)
    heard.next(Disconnected)
    numbers = [bus.publish(update, bytes(4000)) for _ in range(3)]
    assert heard.next(Sent) == Sent(update, numbers[2], 0x97)
    proxy.switch(Mode.PASS_ON)
    assert [heard.next(Sent).mid, heard.next(Sent).mid] == numbers[:2]
    after = bus.publish(update, bytes(4000))
    assert heard.next(Sent) == Sent(update, after, 0x10)
    bus.close()


def test_no_more_bytes_are_outstanding_than_the_owner_allows(mosquitto: Broker, federation: str) -> None:
    """Two messages of half a megabyte fill the bound; each that is acknowledged lets one more in."""
    topic, heard, told = topics.to(federation, DEVICE, "receipt"), Heard(), Heard()
    url = f"mqtt://127.0.0.1:{mosquitto.port}"
    reader = MqttBus(url, DEVICE, session_expiry_s=0, manual_ack=True, receive_bytes=2**20)
    writer = MqttBus(url, "gateway", session_expiry_s=0)
    reader.subscribe(topic)
    reader.open(heard)
    writer.open(told)

    def say(body: bytes) -> int:
        writer.publish(topic, body)
        return told.next(Sent).reason

    while say(b"") != 0:  # nobody listens yet
        pass
    empty = heard.next(Arrived)
    bodies = [bytes([place]) * 2**19 for place in range(4)]
    assert [say(body) for body in bodies] == [0] * 4
    came = [heard.next(Arrived) for _ in range(2)]
    assert [arrived.body for arrived in came] == bodies[:2]
    say(b"time enough for more to come")
    assert heard.so_far(Arrived) == []
    for arrived in (empty, came[0]):
        assert arrived.token is not None
        reader.ack(arrived.token)
    assert heard.next(Arrived).body == bodies[2]
    say(b"time enough for more to come")
    assert heard.so_far(Arrived) == []
    reader.close()
    writer.close()


def test_what_the_broker_forbids_is_told_with_its_reason(mosquitto: Broker, federation: str) -> None:
    bus, heard = line(mosquitto.port), Heard()
    bus.open(heard)
    foreign = topics.up(federation, "pump-8", Up.UPDATE)
    number = bus.publish(foreign, b"not mine")
    assert heard.next(Sent) == Sent(foreign, number, 0x87)
    bus.close()


def test_while_nobody_listens_it_tries_again_and_again_within_its_backoff(mosquitto: Broker) -> None:
    port = free_port()
    bus, heard = line(port, max_backoff_s=0.05), Heard()
    began = time.monotonic()
    bus.open(heard)
    for _ in range(10):
        assert "cannot be reached" in heard.next(Disconnected).why
    assert time.monotonic() - began < 2.0
    with FaultProxy(mosquitto.port, port=port):
        assert heard.next(Connected) == Connected(session_present=False)
        bus.close()


def test_closing_is_bounded_while_the_broker_is_silent_and_leaves_no_thread(proxy: FaultProxy, update: str) -> None:
    before = threading.active_count()
    bus, heard = line(proxy.port), Heard()
    bus.open(heard)
    heard.next(Connected)
    proxy.switch(Mode.HOLD)
    bus.publish(update, b"never acknowledged")
    began = time.monotonic()
    bus.close()
    assert time.monotonic() - began < 0.9
    assert threading.active_count() == before


def test_a_publication_without_its_acknowledgement_is_sent_again_on_the_next_connection(
    proxy: FaultProxy, update: str
) -> None:
    bus, heard = line(proxy.port), Heard()
    bus.open(heard)
    heard.next(Connected)
    proxy.switch(Mode.HOLD)
    number = bus.publish(update, b"lost on the way")
    proxy.wait_until(lambda traffic: traffic.from_clients > traffic.to_server)
    proxy.switch(Mode.CUT)
    proxy.switch(Mode.PASS_ON)
    assert heard.next(Sent) == Sent(update, number, 0x10)
    bus.close()


def test_what_is_not_lasting_and_was_lost_with_its_connection_is_not_sent_again_and_the_rest_is(
    proxy: FaultProxy, update: str
) -> None:
    """MQTT would send it again unasked, and a device's parts are asked for: else each loss would cost all of them."""
    bus, heard = line(proxy.port), Heard()
    bus.open(heard)
    heard.next(Connected)
    proxy.switch(Mode.HOLD)
    gone = [bus.publish(update, bytes(50_000), lasting=False) for _ in range(3)]
    stays = bus.publish(update, b"stays")
    before = proxy.wait_until(lambda traffic: traffic.from_clients > traffic.to_server + 150_000).from_clients
    proxy.switch(Mode.CUT)
    proxy.switch(Mode.PASS_ON)
    reasons = {sent.mid: sent.reason for sent in (heard.next(Sent) for _ in range(4))}
    assert reasons == {**dict.fromkeys(gone, LINE_LOST), stays: 0x10}
    again = bus.publish(update, b"for this line", lasting=False)
    assert heard.next(Sent) == Sent(update, again, 0x10)
    bus.close()
    assert proxy.traffic.from_clients - before < 50_000


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1", "mqtt://127.0.0.1", "mqtts://host:8883", "mqtt://host:eleven", "mqtt://:1"]
)
def test_an_address_that_is_none_is_refused_by_name(url: str) -> None:
    with pytest.raises(Misconfigured, match="mqtt://HOST:PORT"):
        MqttBus(url, DEVICE)


def test_a_line_that_would_be_tried_without_a_pause_is_refused() -> None:
    with pytest.raises(Misconfigured, match="more than 0, got 0"):
        line(1883, max_backoff_s=0.0)
