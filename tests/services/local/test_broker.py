import signal
import socket
from pathlib import Path

import pytest

from mizzle.errors import Misconfigured
from services.local.broker import Broker, broker_command, brokers
from services.local.processes import Processes
from services.local.waiting import free_port, wait_for_port
from tests.mqtt import Peer, Said
from tests.servers import need_broker

DENIED = "Not authorized"


# What any broker has to do for us.


def test_a_message_arrives_and_is_acknowledged(broker: Broker, federation: str) -> None:
    topic, chunk = f"mz/1/{federation}/up/7/pump-7/update", b"u" * 96 * 1024
    with Peer(broker.port, "gateway") as gateway, Peer(broker.port, "pump-7") as pump:
        assert gateway.subscribe(f"mz/1/{federation}/up/7/+/+") == "Granted QoS 1"
        assert pump.publish(topic, chunk) == "Success"
        assert gateway.next() == Said(topic, chunk)


def test_the_latest_retained_message_meets_who_comes_later(broker: Broker, federation: str) -> None:
    topic = f"mz/1/{federation}/pub/release"
    with Peer(broker.port, "gateway") as gateway, Peer(broker.port, "pump-7") as pump:
        gateway.publish(topic, b"version 1", retain=True)
        gateway.publish(topic, b"version 2", retain=True)
        pump.subscribe(f"mz/1/{federation}/pub/#")
        assert pump.next() == Said(topic, b"version 2", retain=True)


def test_what_was_said_while_a_session_was_away_arrives(broker: Broker, federation: str) -> None:
    topic = f"mz/1/{federation}/to/pump-7/receipt"
    with Peer(broker.port, "pump-7", client_id=federation, session_s=300) as pump:
        pump.subscribe(f"mz/1/{federation}/to/pump-7/+")
    with Peer(broker.port, "gateway") as gateway:
        for count in range(30):
            gateway.publish(topic, b"receipt %d" % count)
    with Peer(broker.port, "pump-7", client_id=federation, session_s=300) as pump:
        assert pump.session_present
        assert [pump.next() for _ in range(30)] == [Said(topic, b"receipt %d" % count) for count in range(30)]


def test_the_last_will_of_a_device_that_vanishes_is_published_and_retained(broker: Broker, federation: str) -> None:
    topic = f"mz/1/{federation}/up/7/pump-7/presence"
    with Peer(broker.port, "gateway") as gateway:
        gateway.subscribe(f"mz/1/{federation}/up/+/+/presence")
        with Peer(broker.port, "pump-7", will=Said(topic, b"gone", retain=True)) as pump:
            pump.vanish()
            assert gateway.next() == Said(topic, b"gone")
    with Peer(broker.port, "gateway") as gateway:
        gateway.subscribe(f"mz/1/{federation}/up/+/+/presence")
        assert gateway.next() == Said(topic, b"gone", retain=True)


def test_a_broker_listens_on_loopback_only(broker: Broker) -> None:
    """All of 127/8 is this machine; a broker bound to every address would answer on 127.0.0.2."""
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", broker.port)) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", broker.port)) != 0


# What only mosquitto does: access rules and persistence.


@pytest.mark.parametrize(
    "topic",
    [
        "up/7/pump-7/update",
        "up/7/pump-7/presence",
        "up/7/pump-7/evil/update",
        "up/7/evil",
        "up/evil/update",
        "to/pump-7/receipt",
        "to/evil/receipt",
        "pub/release",
    ],
)
def test_a_device_writes_under_its_own_name_only(mosquitto: Broker, federation: str, topic: str) -> None:
    own = f"mz/1/{federation}/up/7/evil/update"
    with Peer(mosquitto.port, "gateway") as gateway, Peer(mosquitto.port, "pump-7") as pump:
        gateway.subscribe(f"mz/1/{federation}/#")
        pump.subscribe(f"mz/1/{federation}/#")
        with Peer(mosquitto.port, "evil") as evil:
            assert evil.publish(f"mz/1/{federation}/{topic}", b"forged") == DENIED
            evil.publish(own, b"own")
        assert gateway.heard() == [Said(own, b"own")]
        assert pump.heard() == []


def test_a_forged_last_will_is_not_published(mosquitto: Broker, federation: str) -> None:
    forged, own = f"mz/1/{federation}/up/7/pump-7/presence", f"mz/1/{federation}/up/7/evil/presence"
    with Peer(mosquitto.port, "gateway") as gateway:
        gateway.subscribe(f"mz/1/{federation}/#")
        for topic in (forged, own):
            with Peer(mosquitto.port, "evil", will=Said(topic, b"gone", retain=True)) as evil:
                evil.vanish()
                with Peer(mosquitto.port, "evil"):  # the same client id again: the broker has ended the one before
                    pass
        assert gateway.heard() == [Said(own, b"gone")]


@pytest.mark.parametrize("name", ["evil", "+", "#", "pump-7/receipt", "gateway2", ""])
@pytest.mark.parametrize("wish", ["mz/1/{}/to/pump-7/+", "mz/1/{}/to/+/+", "mz/1/{}/up/#", "mz/1/{}/#", "#"])
def test_a_stranger_hears_only_what_is_public(mosquitto: Broker, federation: str, name: str, wish: str) -> None:
    """Mosquitto says granted and filters at delivery; what was retained is filtered too."""
    topics = [f"mz/1/{federation}/{place}" for place in ("to/pump-7/receipt", "up/7/pump-7/presence")]
    with (
        Peer(mosquitto.port, name, client_id=f"x-{federation}") as stranger,
        Peer(mosquitto.port, "gateway") as gateway,
        Peer(mosquitto.port, "pump-7") as pump,
    ):
        for _ in range(2):  # live, then retained
            stranger.subscribe(wish.format(federation))
            assert gateway.publish(topics[0], b"for pump-7", retain=True) != DENIED
            assert pump.publish(topics[1], b"of pump-7", retain=True) != DENIED
        assert [said for said in stranger.heard() if federation in said.topic] == []


def test_everything_gives_a_device_its_own_and_the_public(mosquitto: Broker, federation: str) -> None:
    own, public = f"mz/1/{federation}/to/pump-7/receipt", f"mz/1/{federation}/pub/release"
    with Peer(mosquitto.port, "pump-7") as pump, Peer(mosquitto.port, "gateway") as gateway:
        pump.subscribe("#")
        gateway.publish(f"mz/1/{federation}/to/pump-8/receipt", b"for pump-8")
        gateway.publish(own, b"for pump-7")
        gateway.publish(public, b"for all")
        ours = [said for said in pump.heard() if federation in said.topic]
        assert ours == [Said(own, b"for pump-7"), Said(public, b"for all")]


def test_taking_over_a_session_gives_nothing_of_what_waited_in_it(mosquitto: Broker, federation: str) -> None:
    """The session belongs to whoever gives its client id, but its messages to the user they were for."""
    receipt = f"mz/1/{federation}/to/pump-7/receipt"
    with Peer(mosquitto.port, "pump-7", client_id=federation, session_s=300) as pump:
        pump.subscribe(receipt)
    with Peer(mosquitto.port, "gateway") as gateway:
        gateway.publish(receipt, b"for pump-7")
        with Peer(mosquitto.port, "evil", client_id=federation, session_s=300) as evil:
            assert evil.session_present
            gateway.publish(receipt, b"for pump-7")
            assert evil.heard() == []


def test_joining_a_share_group_shows_a_device_nothing(mosquitto: Broker, federation: str) -> None:
    """It would take messages away from the group, which is why ingest has none."""
    with Peer(mosquitto.port, "evil") as evil, Peer(mosquitto.port, "pump-7") as pump:
        evil.subscribe(f"$share/gateways/mz/1/{federation}/up/#")
        pump.publish(f"mz/1/{federation}/up/7/pump-7/update")
        assert evil.heard() == []


def test_a_client_is_told_how_large_a_packet_may_be(mosquitto: Broker) -> None:
    with Peer(mosquitto.port, "pump-7") as pump:
        assert pump.max_packet == 1024 * 1024


def test_what_waits_and_what_is_retained_survives_an_orderly_stop(children: Processes, federation: str) -> None:
    broker = need_broker(children, "mosquitto")
    receipt, release = f"mz/1/{federation}/to/pump-7/receipt", f"mz/1/{federation}/pub/release"
    with Peer(broker.port, "pump-7", session_s=300) as pump:
        pump.subscribe(f"mz/1/{federation}/to/pump-7/+")
    with Peer(broker.port, "gateway") as gateway:
        gateway.publish(receipt, b"counted")
        gateway.publish(release, b"version 1", retain=True)
    children["broker"].kill(signal.SIGTERM)
    assert children["broker"].wait(5) == 0
    wait_for_port(broker.port, children.restart("broker"))
    with Peer(broker.port, "pump-7", session_s=300) as pump:
        assert pump.next() == Said(receipt, b"counted")
        pump.subscribe(f"mz/1/{federation}/pub/release")
        assert pump.next() == Said(release, b"version 1", retain=True)


# Finding one.


def test_the_best_broker_is_taken_unless_one_is_named(folder: Path) -> None:
    if not brokers():
        with pytest.raises(Misconfigured, match="apt install mosquitto"):
            broker_command(folder, free_port())
        return
    assert broker_command(folder, free_port())[:1] == broker_command(folder, free_port(), brokers()[0])[:1]
