"""A payload that is gone, a Redis that is empty, in a whole federation: the device asks, and its update is counted."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mizzle import topics
from mizzle.codec import decode, decode_hint
from mizzle.envelope import unseal
from mizzle.messages import Counted, Held, Hint, Receipt, Run, Want
from mizzle.parts import CHUNK
from mizzle.plan import Plan, from_toml
from mizzle.topics import Keyspace, Up
from services.ledger.ledger import Ledger
from services.local.federation import Federation, running
from services.pipeline import hop
from services.runtime.payloads import Spool
from services.runtime.redis_log import RedisLog, connected
from tests.hostile.actor import Actor
from tests.mqtt import Peer, Said
from tests.services.gateway.test_gateway import wait_until
from tests.services.plans import MODEL, TOML

ZERO = bytes(4 + 64)  # of four parameters, in 8 bits: the multiplier 0, and no level counts


class Asker(Actor):
    """An actor that keeps the hints that it is told."""

    def __init__(self, federation: Federation, name: str) -> None:
        super().__init__(federation, name)
        self.hints: list[Hint] = []

    def _hear(self, said: Said) -> None:
        if said.topic == topics.to(self.voice.plan.federation, self.voice.name, "want"):
            self.hints.append(decode_hint(said.payload))
        else:
            super()._hear(said)

    def ask(self, part: bytes) -> Hint:
        """What a probe for the update that begins with this part is answered."""
        told = len(self.hints)
        self.say(self.voice.topic(Up.PROBE), part[: unseal(part).size])
        while len(self.hints) == told:
            self._hear(self._next())
        return self.hints[told]

    def outcome(self, update: bytes) -> object:
        """How the update ended; waits for the receipt."""
        self.await_receipt(update)
        (sealed,) = self.receipts[update]
        return decode(unseal(sealed).header, Receipt).outcome


class Pumps:
    """A federation of two devices by script, both of them invited to each window."""

    def __init__(self, federation: Federation, one: Asker, two: Asker) -> None:
        self.federation, self.one, self.two = federation, one, two
        self.spool = Spool(federation.payloads, 2**30)
        name = federation.plan.federation
        self.ledger = Ledger.open(f"sqlite:///{federation.ledger_file}", name)
        self.redis = connected(federation.redis_url)
        self._space = Keyspace(self.ledger.name, name)

    def stop(self, service: str) -> None:
        self.federation.processes[service].kill(signal.SIGSTOP)

    def go_on(self, service: str) -> None:
        self.federation.processes[service].kill(signal.SIGCONT)

    def unread(self, service: str) -> int:
        """How many entries the service has not read, by its last pulse."""
        lags = RedisLog(self.redis, self._space, hop(service)).lags()
        return sum(lag.entries for lag in lags.values())

    def pulse(self, service: str) -> int:
        return RedisLog(self.redis, self._space, hop(service)).pulse() or 0

    def waiting(self, stream: str) -> int:
        length: int = self.redis.xlen(self._space.stream(stream))
        return length

    def part(self, device: Asker, window: int) -> bytes:
        """The update of this device for the window, in the one message that carries it."""
        (part,) = device.voice.parts(device.invited(window), ZERO)
        return part


def two_of_two() -> Plan:
    text = TOML.format(goal=2, late="fold", noise=2.0, budget=1e6, crowd=2, windows="", staleness=2)
    return from_toml(text.replace("deadline_s = 6.0", "deadline_s = 60.0"), MODEL)


@pytest.fixture
def pumps(folder: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pumps]:
    monkeypatch.setenv("REDIS_URL", redis_url)
    with ExitStack() as stack:
        federation = stack.enter_context(running(folder, two_of_two(), MODEL, keep_payloads=False))
        with Peer(federation.broker.port, "reader") as watcher:
            watcher.subscribe(topics.state(federation.plan.federation))
            while json.loads(watcher.next().payload)["state"] != "online":
                pass
        one, two = (stack.enter_context(Asker(federation, name)) for name in ("pump-1", "pump-2"))
        for device in (one, two):
            device.enrol()
        for device in (one, two):
            device.be_there()
        yield Pumps(federation, one, two)


def test_a_payload_that_is_gone_and_a_redis_that_is_empty_cost_no_update(pumps: Pumps) -> None:
    one, two = pumps.one, pumps.two
    assert len(ZERO) < CHUNK
    first = pumps.part(one, 1)
    update = unseal(first).id
    pumps.stop("aggregator")
    one.say(one.voice.topic(Up.UPDATE), first)
    wait_until(lambda: pumps.waiting("charged") >= 2, 30)  # the window, and the charge
    pumps.spool.discard(update)
    pumps.go_on("aggregator")
    wait_until(lambda: pumps.unread("aggregator") == 0, 30)
    assert one.ask(first) == Want(update=update, parts=(Run(first=0, count=1),))
    one.say(one.voice.topic(Up.UPDATE), first)
    two.say(two.voice.topic(Up.UPDATE), pumps.part(two, 1))
    assert one.outcome(update) == Counted(release=1, window=1, weight=64)

    second = pumps.part(one, 2)
    update = unseal(second).id
    pumps.stop("anomaly_detector")
    one.say(one.voice.topic(Up.UPDATE), second)
    wait_until(lambda: pumps.spool.size(update) is not None and pumps.waiting("received") >= 1, 30)
    pumps.redis.flushall()
    pumps.go_on("anomaly_detector")
    assert one.ask(second) == Held(update=update)
    two.say(two.voice.topic(Up.UPDATE), pumps.part(two, 2))
    assert one.outcome(update) == Counted(release=2, window=2, weight=64)
    wait_until(lambda: pumps.spool.payloads() == [], 30)
    wait_until(lambda: pumps.spool.blobs() == [], 30)
