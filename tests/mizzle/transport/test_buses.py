"""What every bus promises, on the broker in memory and on real ones."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from mizzle import topics
from mizzle.topics import Up
from mizzle.transport.bus import LINE_LOST, AckToken, Arrived, Bus, Connected, Disconnected, Sent, Will
from tests.mizzle.transport.worlds import Heard, MemoryWorld, MqttWorld, World


@pytest.fixture(params=["memory", "mosquitto", "iotcore"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    broker = request.getfixturevalue(request.param)
    with ExitStack() as stack:
        yield MqttWorld(broker.port, stack, complete=request.param == "mosquitto")


@pytest.fixture
def device() -> str:
    """A name no other test uses, since sessions outlive tests."""
    return f"pump-{secrets.token_hex(4)}"


def opened(bus: Bus) -> Heard:
    heard = Heard()
    bus.open(heard)
    heard.next(Connected)
    return heard


def at(line: Heard, topic: str) -> bytes:
    return line.next(Arrived, lambda arrived: arrived.topic == topic).body


class TestBus:
    @pytest.fixture(autouse=True)
    def names(self, world: World, device: str, federation: str) -> None:
        self.world, self.device, self.federation = world, device, federation
        self.receipts = topics.to(federation, device, "receipt")
        self.presence = topics.up(federation, device, Up.PRESENCE)

    def gateway(self) -> tuple[Bus, Heard]:
        bus = self.world.bus("gateway", session_expiry_s=0)
        return bus, opened(bus)

    def reader(self, *, manual_ack: bool = False, receive_maximum: int = 100) -> tuple[Bus, Heard]:
        """The device, listening to what it is told, once its subscription holds."""
        bus = self.world.bus(self.device, manual_ack=manual_ack, receive_maximum=receive_maximum)
        heard = opened(bus)
        gateway, _ = self.gateway()
        gateway.publish(topics.blob(self.federation, bytes(32), 0), b"mark", retain=True)
        bus.subscribe(topics.every_to(self.federation, self.device))
        bus.subscribe(topics.every_piece(self.federation, bytes(32)))
        mark = heard.next(Arrived)
        if mark.token:
            bus.ack(mark.token)
        gateway.close()
        return bus, heard

    def say(self, *bodies: bytes) -> None:
        """The gateway says this to the device, and goes."""
        gateway, told = self.gateway()
        for body in bodies:
            gateway.publish(self.receipts, body)
            told.next(Sent)
        gateway.close()

    def test_a_publication_reaches_its_reader_and_its_sender_is_told(self) -> None:
        _, heard = self.reader()
        gateway, told = self.gateway()
        number = gateway.publish(self.receipts, b"counted")
        assert told.next(Sent) == Sent(self.receipts, number, 0)
        assert heard.next(Arrived) == Arrived(self.receipts, b"counted")

    def test_a_publication_without_readers_is_a_success_too(self) -> None:
        gateway, told = self.gateway()
        number = gateway.publish(self.receipts, b"counted")
        sent = told.next(Sent)
        assert (sent.mid, sent.reason in {0, 16}) == (number, True)

    def test_messages_arrive_in_the_order_in_which_they_were_published(self) -> None:
        _, heard = self.reader()
        bodies = [b"%d" % index for index in range(300)]
        gateway, _ = self.gateway()
        for body in bodies:
            gateway.publish(self.receipts, body)
        assert [heard.next(Arrived).body for _ in bodies] == bodies

    def test_short_and_long_messages_arrive_as_they_were_published(self) -> None:
        """What is written together may be cut anywhere, and what is read together may begin and end anywhere."""
        _, heard = self.reader()
        bodies = [bytes([index]) * (index % 7 * 9_000) for index in range(120)]
        gateway, told = self.gateway()
        for body in bodies:
            gateway.publish(self.receipts, body)
        assert [heard.next(Arrived).body for _ in bodies] == bodies
        assert {told.next(Sent).reason for _ in bodies} == {0}

    def test_a_retained_message_reaches_a_late_reader_and_says_so(self) -> None:
        gateway, told = self.gateway()
        state = topics.state(self.federation)
        gateway.publish(state, b"up", retain=True)
        told.next(Sent)
        bus = self.world.bus(self.device)
        late = opened(bus)
        bus.subscribe(state)
        assert late.next(Arrived) == Arrived(state, b"up", retained=True)
        gateway.publish(state, b"still up", retain=True)
        assert late.next(Arrived) == Arrived(state, b"still up", retained=False)

    def test_what_was_not_acknowledged_comes_again_after_a_loss_and_before_anything_newer(self) -> None:
        bus, heard = self.reader(manual_ack=True)
        self.say(b"one", b"two")
        first, second = heard.next(Arrived), heard.next(Arrived)
        self.acknowledge(bus, heard, first.token)
        self.lose()
        self.say(b"three")
        self.world.mend(self.device)
        assert heard.next(Connected) == Connected(session_present=True)
        assert [heard.next(Arrived).body, heard.next(Arrived).body] == [second.body, b"three"]

    def test_acknowledgements_go_out_in_the_order_of_the_deliveries(self) -> None:
        """Whatever the order they are given in: MQTT 5 §4.6, and some brokers end a connection that does otherwise."""
        bus, heard = self.reader(manual_ack=True)
        self.say(b"first", b"second")
        tokens = [heard.next(Arrived).token for _ in range(2)]
        for token in reversed(tokens):
            assert token is not None
            bus.ack(token)
        self.say(b"third")
        assert heard.next(Arrived).body == b"third"

    def test_an_acknowledgement_of_an_older_connection_acknowledges_nothing(self) -> None:
        bus, heard = self.reader(manual_ack=True)
        self.say(b"one")
        stale = heard.next(Arrived).token
        self.lose()
        self.world.mend(self.device)
        again = heard.next(Arrived)
        assert (again.body, again.token != stale) == (b"one", True)
        assert stale is not None
        assert again.token is not None
        self.acknowledge(bus, heard, stale)
        self.acknowledge(bus, heard, replace(stale, mid=again.token.mid))
        self.lose()
        self.world.mend(self.device)
        assert heard.next(Arrived).body == b"one"

    def test_with_late_acknowledgement_no_more_than_the_receive_maximum_is_outstanding(self) -> None:
        bus, heard = self.reader(manual_ack=True, receive_maximum=5)
        self.say(*(b"%d" % index for index in range(12)))
        tokens = [heard.next(Arrived).token for _ in range(5)]
        assert heard.so_far(Arrived) == []
        assert tokens[0] is not None
        bus.ack(tokens[0])
        assert heard.next(Arrived).body == b"5"
        self.say(b"time enough for more to come")
        assert heard.so_far(Arrived) == []

    def test_what_is_published_while_the_line_is_cut_is_sent_when_it_is_mended(self) -> None:
        gateway, heard = self.gateway()
        gateway.subscribe(topics.every_up(self.federation))
        bus = self.world.bus(self.device)
        opened(bus)
        self.lose()
        bus.publish(self.presence, b"here")
        self.world.mend(self.device)
        assert at(heard, self.presence) == b"here"

    def test_what_is_not_lasting_is_gone_with_the_line_and_its_sender_is_told(self) -> None:
        gateway, heard = self.gateway()
        gateway.subscribe(topics.every_up(self.federation))
        bus = self.world.bus(self.device)
        line = opened(bus)
        self.lose()
        number = bus.publish(self.presence, b"for the line that was lost", lasting=False)
        assert line.next(Sent).reason == LINE_LOST
        self.world.mend(self.device)
        line.next(Connected)
        again = bus.publish(self.presence, b"here", lasting=False)
        assert again != number
        assert at(heard, self.presence) == b"here"

    def test_what_is_said_to_a_client_that_is_away_waits_for_it(self) -> None:
        _, heard = self.reader()
        self.lose()
        self.say(b"counted")
        self.world.mend(self.device)
        assert at(heard, self.receipts) == b"counted"

    def test_a_session_that_the_broker_forgot_is_subscribed_again(self) -> None:
        bus = self.world.bus(self.device, session_expiry_s=0)
        heard = opened(bus)
        bus.subscribe(topics.every_to(self.federation, self.device))
        self.until_it_arrives(heard)
        self.lose()
        heard.next(Disconnected)
        self.world.mend(self.device)
        if self.world.complete:
            assert heard.next(Connected) == Connected(session_present=False)
        else:
            heard.next(Connected)
        self.until_it_arrives(heard)

    def test_a_subscription_made_while_the_line_is_cut_holds_afterwards(self) -> None:
        bus = self.world.bus(self.device)
        heard = opened(bus)
        self.lose()
        heard.next(Disconnected)
        bus.subscribe(topics.every_to(self.federation, self.device))
        self.world.mend(self.device)
        heard.next(Connected)
        self.until_it_arrives(heard)

    @pytest.mark.parametrize("cut", [False, True])
    def test_nothing_more_arrives_for_a_filter_that_was_given_up(self, *, cut: bool) -> None:
        if cut and not self.world.complete:
            pytest.skip("iotcore does not answer UNSUBSCRIBE in a session that goes on")
        bus, heard = self.reader()
        if cut:
            self.lose()
            heard.next(Disconnected)
        bus.unsubscribe(topics.every_to(self.federation, self.device))
        if cut:
            self.world.mend(self.device)
            heard.next(Connected)
        bus.subscribe(topics.state(self.federation))
        gateway, _ = self.gateway()
        gateway.publish(topics.state(self.federation), b"asked in order", retain=True)
        heard.next(Arrived)
        gateway.publish(self.receipts, b"unwanted")
        gateway.publish(topics.state(self.federation), b"end")
        assert heard.next(Arrived).body == b"end"

    def test_the_last_will_is_said_retained_when_the_line_is_lost(self) -> None:
        gateway, heard = self.gateway()
        gateway.subscribe(self.presence)
        bus = self.world.bus(self.device, will=Will(self.presence, b"gone"))
        opened(bus)
        self.until_the_gateway_hears(bus, heard)
        self.lose()
        assert at(heard, self.presence) == b"gone"
        if self.world.complete:
            late, retained = self.gateway_again(gateway)
            late.subscribe(self.presence)
            assert retained.next(Arrived) == Arrived(self.presence, b"gone", retained=True)

    def test_who_says_goodbye_leaves_no_will(self) -> None:
        gateway, heard = self.gateway()
        gateway.subscribe(topics.every_up(self.federation))
        bus = self.world.bus(self.device, will=Will(self.presence, b"gone"))
        opened(bus)
        self.until_the_gateway_hears(bus, heard)
        bus.publish(topics.up(self.federation, self.device, Up.DECLINE), b"last words")
        bus.close()
        assert heard.next(Arrived).body == b"last words"
        second = self.world.bus(self.device)
        opened(second)
        second.publish(topics.up(self.federation, self.device, Up.DECLINE), b"back")
        assert heard.next(Arrived).body == b"back"

    def test_a_listener_that_raises_does_not_stop_the_bus(self) -> None:
        bus = self.world.bus(self.device)
        heard = Heard()

        def touchy(event: object) -> None:
            heard(event)
            raise RuntimeError("the listener's own fault")

        bus.open(touchy)
        heard.next(Connected)
        bus.subscribe(topics.every_to(self.federation, self.device))
        self.until_it_arrives(heard)
        self.lose()
        heard.next(Disconnected)
        self.world.mend(self.device)
        heard.next(Connected)

    def lose(self) -> None:
        self.world.cut(self.device)

    def acknowledge(self, bus: Bus, heard: Heard, token: AckToken | None) -> None:
        """Acknowledge, and wait until the broker has seen it: it reads in order."""
        assert token is not None
        bus.ack(token)
        number = bus.publish(self.presence, b"flush")
        heard.next(Sent, lambda sent: sent.mid == number)

    def until_it_arrives(self, heard: Heard) -> None:
        """Say it until it is heard: a broker does not tell us when a subscription holds."""
        for attempt in range(100):
            self.say(b"%d" % attempt)
            if heard.so_far(Arrived):
                return
        pytest.fail("nothing said to the device arrived")

    def until_the_gateway_hears(self, bus: Bus, heard: Heard) -> None:
        bus.publish(self.presence, b"here", retain=True)
        assert at(heard, self.presence) == b"here"

    def gateway_again(self, gateway: Bus) -> tuple[Bus, Heard]:
        gateway.close()
        return self.gateway()
