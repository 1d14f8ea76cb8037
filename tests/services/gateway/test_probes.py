"""What a device that comes back costs: on a real mosquitto and Redis, through a line that is lost again and again."""

import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from mizzle import topics
from mizzle.codec import decode_hint, encode
from mizzle.device.life import Life
from mizzle.device.outbox import Outbox
from mizzle.device.states import Me
from mizzle.envelope import unseal
from mizzle.messages import Held, Hint, Identity, Received, Run, ServerKey, Want
from mizzle.parts import CHUNK
from mizzle.topics import Up
from mizzle.transport.bus import Bus, Will
from mizzle.transport.mqtt_bus import MqttBus
from services.local.faults import FaultProxy, Mode, Traffic
from services.local.processes import Processes
from tests.mqtt import Peer
from tests.services.gateway.test_gateway import Barn, made
from tests.services.grounds import Ear

PARTS = 30
LONG = secrets.token_bytes(PARTS * CHUNK - 7)
SHORT = secrets.token_bytes(50_000)
HINTS = "want"


@pytest.fixture
def barn(request: pytest.FixtureRequest, folder: Path, federation: str, redis_url: str, children: Processes) -> Barn:
    """A barn whose gateway runs, and whose model has as many parameters as the test says."""
    barn = made(folder, federation, redis_url, children, getattr(request, "param", 20_000))
    barn.open_gate()
    return barn


class Sending:
    """A device with one update in its outbox, in a thread of its own, as far as its outbox and its line go."""

    def __init__(self, barn: Barn, home: Path, port: int, payload: bytes) -> None:
        self.sealed = barn.pump.parts(payload)[0][: -min(CHUNK, len(payload))]
        self.id = unseal(self.sealed).id
        self._barn, self._home, self._port, self._payload = barn, home, port, payload
        self._over = threading.Event()
        self.sends = -1

    def identity(self) -> Identity:
        plan, founded = self._barn.grounds.plan, self._barn.grounds.founded
        keys = (ServerKey(role="receipt", public_key=founded.public_keys["receipt"]),)
        blob = self._barn.pump.update(plan.canonical).payload
        public_key = self._barn.pump.key.public_key
        return Identity(
            federation=self._barn.name, device="pump-7", public_key=public_key, keys=keys, plan=blob, epoch=0
        )

    @contextmanager
    def alive(self) -> Iterator[None]:
        self._over.clear()
        thread = threading.Thread(target=self._live)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(10)
            assert not thread.is_alive()

    def _live(self) -> None:
        with Outbox(self._home) as outbox:
            outbox.keep(self.id, 1, self.sealed, self._payload)
            me = Me(self._barn.name, "pump-7", self._barn.pump.key)
            Life(me, self.identity(), outbox, self._connect, lambda _: pytest.fail("nothing is trained")).live(
                self._over.is_set
            )
            self.sends = outbox.sends()

    def _connect(self, name: str, will: Will | None) -> Bus:
        return MqttBus(f"mqtt://127.0.0.1:{self._port}", name, will=will, max_backoff_s=0.3)


def is_through(share: float, traffic: Traffic) -> bool:
    """Whether this share of the payload has gone over the line."""
    return traffic.to_server > share * len(LONG)


def lose(proxy: FaultProxy) -> None:
    """Lose the line, and let the device come back."""
    proxy.switch(Mode.CUT)
    proxy.switch(Mode.PASS_ON)
    proxy.wait_until(lambda traffic: traffic.connections > 0)


@pytest.mark.parametrize("barn", [800_000], indirect=True)
def test_a_line_that_is_lost_five_times_in_a_long_update_costs_at_most_a_fifth_more(barn: Barn, tmp_path: Path) -> None:
    with FaultProxy(barn.broker.port) as proxy:
        device = Sending(barn, tmp_path / "outbox.db", proxy.port, LONG)
        with device.alive():
            for number in range(1, 6):
                proxy.wait_until(partial(is_through, number / 6))
                lose(proxy)
            message = Ear(barn.grounds, "anomaly_detector").next()
            assert isinstance(message, Received)
            assert (message.id, barn.spool.get(message.id)) == (device.id, LONG)
        cost = proxy.traffic.from_clients / len(LONG)
    assert 1 < cost <= 1.2
    assert 3 <= device.sends <= 6  # so often its parts were begun: the line was lost among them


def test_a_short_update_is_sent_once_however_often_its_device_comes_back(barn: Barn, tmp_path: Path) -> None:
    detector = Ear(barn.grounds, "anomaly_detector")
    with FaultProxy(barn.broker.port) as proxy:
        device = Sending(barn, tmp_path / "outbox.db", proxy.port, SHORT)
        with device.alive():
            first = detector.next()
            for _ in range(5):
                lose(proxy)
                assert detector.next() == first  # what is held is said again between services
        cost = proxy.traffic.from_clients / len(SHORT)
        with device.alive():  # it has lost its power, and knows by its outbox that it has sent
            assert detector.next() == first
    assert (device.sends, 1 < cost <= 1.2) == (1, True)


def test_a_short_update_is_sent_once_while_the_gateway_is_down_and_counts_when_it_is_back(
    folder: Path, federation: str, redis_url: str, children: Processes, tmp_path: Path
) -> None:
    """Nobody answers its probes: it goes on asking, and the gateway asks for what the broker had nobody to give to."""
    barn = made(folder, federation, redis_url, children, 20_000)
    with FaultProxy(barn.broker.port) as proxy:
        device = Sending(barn, tmp_path / "outbox.db", proxy.port, SHORT)
        with device.alive():
            with Peer(barn.broker.port, "gateway", client_id="listener") as listener:
                listener.subscribe(barn.pump.topic(Up.PROBE))
                proxy.wait_until(lambda traffic: traffic.to_server > len(SHORT))
                for _ in range(5):
                    lose(proxy)
                    assert listener.next().payload == device.sealed
            assert 1 < proxy.traffic.from_clients / len(SHORT) <= 1.2
            barn.open_gate()
            lose(proxy)
            message = Ear(barn.grounds, "anomaly_detector").next()
            assert isinstance(message, Received)
            assert (message.id, barn.spool.get(message.id)) == (device.id, SHORT)


class Asking:
    """A device by script that probes and hears what it is answered."""

    def __init__(self, barn: Barn, peer: Peer, payload: bytes) -> None:
        self._barn, self._peer = barn, peer
        self.parts = barn.pump.parts(payload)
        self.sealed = self.parts[0][: unseal(self.parts[0]).size]
        self.id = unseal(self.sealed).id
        peer.subscribe(topics.every_to(barn.name, "pump-7"))

    def send(self, *indices: int) -> None:
        for index in indices:
            assert self._peer.publish(self._barn.pump.topic(Up.UPDATE), self.parts[index]) == "Success"

    def ask(self) -> Hint | bytes:
        """The hint that a probe is answered with, or the receipt; that of an earlier probe, if that came twice."""
        self._peer.publish(self._barn.pump.topic(Up.PROBE), self.sealed)
        said = self._peer.next()
        if said.topic == topics.to(self._barn.name, "pump-7", "receipt"):
            return said.payload
        assert said.topic == topics.to(self._barn.name, "pump-7", HINTS)
        return decode_hint(said.payload)

    def wanting(self, *runs: tuple[int, int]) -> Want:
        return Want(update=self.id, parts=tuple(Run(first=first, count=count) for first, count in runs))


def killed(barn: Barn, meanwhile: Callable[[], object] = lambda: None) -> None:
    """The gateway is killed, and begins again."""
    child = barn.children["gateway"]
    child.kill(signal.SIGKILL)
    child.wait(5)
    meanwhile()
    barn.children.restart("gateway")
    barn.wait_for_state("online")


@pytest.mark.parametrize("barn", [800_000], indirect=True)
def test_a_gateway_that_is_killed_between_parts_resumes_at_the_one_that_is_missing(barn: Barn) -> None:
    """What was stored before the kill is never asked for again; a probe may come twice, so an older answer may, too."""
    with Peer(barn.broker.port, "pump-7") as peer:
        device = Asking(barn, peer, LONG)
        device.send(*range(7))
        assert device.ask() == device.wanting((7, PARTS - 7))
        killed(barn)
        assert device.ask() == device.wanting((7, PARTS - 7))
        device.send(8, 9)
        killed(barn, lambda: device.send(10, 11))
        answers = [device.ask()]
        while answers[-1] == device.wanting((7, PARTS - 7)):
            answers.append(device.ask())
        assert answers[-1] == device.wanting((7, 1), (12, PARTS - 12))
        device.send(7, *range(12, PARTS))
        message = Ear(barn.grounds, "anomaly_detector").next()
        assert isinstance(message, Received)
        assert barn.spool.get(message.id) == LONG
    assert list((barn.grounds.folder / "payloads" / "coming").iterdir()) == []


def test_a_payload_that_is_gone_is_asked_for_again_and_said_again(barn: Barn) -> None:
    detector = Ear(barn.grounds, "anomaly_detector")
    with Peer(barn.broker.port, "pump-7") as peer:
        device = Asking(barn, peer, SHORT)
        device.send(0)
        first = detector.next()
        barn.spool.discard(device.id)
        assert device.ask() == device.wanting((0, 1))
        device.send(0)
        assert (detector.next(), barn.spool.get(device.id)) == (first, SHORT)
        cut = barn.grounds.folder / "payloads" / device.id.hex()[:2] / device.id.hex()
        cut.write_bytes(SHORT[:-1])  # as a host leaves it that has lost power
        assert device.ask() == device.wanting((0, 1))


def test_a_redis_that_has_lost_everything_is_filled_again_by_the_probe_alone(barn: Barn) -> None:
    with Peer(barn.broker.port, "pump-7") as peer:
        device = Asking(barn, peer, SHORT)
        device.send(0)
        first = Ear(barn.grounds, "anomaly_detector").next()
        barn.grounds.log("gateway")._client.flushall()
        assert device.ask() == Held(update=device.id)
        assert Ear(barn.grounds, "anomaly_detector").next() == first


def test_nobody_hears_what_another_device_is_answered(barn: Barn) -> None:
    with Peer(barn.broker.port, "pump-7") as peer, Peer(barn.broker.port, "mill-1") as other:
        device = Asking(barn, peer, SHORT)
        other.subscribe(topics.every_to(barn.name, "+"))
        other.subscribe(topics.to(barn.name, "pump-7", HINTS))
        assert device.ask() == device.wanting((0, 1))
        forged = encode(Held(update=device.id))
        assert other.publish(topics.to(barn.name, "pump-7", HINTS), forged) == "Not authorized"
        assert other.publish(barn.pump.topic(Up.PROBE), device.sealed) == "Not authorized"
        assert (other.heard(), peer.heard()) == ([], [])
