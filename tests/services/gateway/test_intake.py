"""What comes from devices is taken in batches."""

import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mizzle.errors import Away
from mizzle.parts import CHUNK
from mizzle.topics import Up
from mizzle.transport.bus import AckToken, Arrived
from mizzle.transport.memory import MemoryBroker, MemoryBus
from services.gateway import receive
from services.gateway.comings import Comings
from services.gateway.heartbeat import Heartbeat
from services.gateway.intake import Inbox, Intake
from services.pipeline import hop
from services.runtime.payloads import Spool
from services.runtime.redis_log import Output
from tests.services.gateway.devices import Device
from tests.services.plans import plan

PATIENCE_S = 60.0


def came(number: int) -> Arrived:
    return Arrived("mz/1/barn/up/7/pump-1/update", b"%d" % number, token=AckToken(1, number))


def test_a_batch_waits_until_it_is_full() -> None:
    inbox = Inbox(most=3, linger_s=PATIENCE_S)
    with ThreadPoolExecutor(1) as reader:
        inbox.listen(came(0))
        taken = reader.submit(inbox.next, PATIENCE_S)
        with pytest.raises(TimeoutError):
            taken.result(0.1)
        for number in (1, 2, 3):
            inbox.listen(came(number))
        assert taken.result(PATIENCE_S) == [came(0), came(1), came(2)]


def test_a_batch_that_does_not_become_full_is_taken_all_the_same() -> None:
    inbox = Inbox(most=3, linger_s=0.01)
    inbox.listen(came(0))
    inbox.listen(came(1))
    assert inbox.next(PATIENCE_S) == [came(0), came(1)]
    assert inbox.next(0.0) == []


class Absent:
    """A Redis that is away so many times, and then takes what it is given."""

    def __init__(self, times: int) -> None:
        self.left, self.taken = times, list[Output]()

    def append(self, outputs: Sequence[Output]) -> None:
        if outputs and self.left:
            self.left -= 1
            raise Away("Redis does not answer")
        self.taken += outputs


def test_what_is_stored_is_not_stored_again_while_redis_is_away(tmp_path: Path) -> None:
    """Parts lie one behind the other: written again at every try, six of them took 25 MB in a minute."""
    federation = plan().federation
    long, short = Device(federation=federation), Device("pump-8", federation, seed=8)
    keys = {device.name: device.key.public_key for device in (long, short)}
    bus, log, comings = MemoryBus(MemoryBroker(), "gateway"), Absent(50), Comings(tmp_path / "coming")
    arrivals = receive.begin(plan())
    arrivals.most_payload = 10 * CHUNK
    inbox = Inbox(linger_s=0.01)
    intake = Intake(
        bus,
        inbox,
        Heartbeat(bus, bus, federation),
        hop("gateway"),
        arrivals,
        keys.get,
        lambda _: None,
        lambda _topic, _body: None,
        comings,
        Spool(tmp_path, 2**26),
        log,
        sleep=lambda _: None,
    )
    first, *later = long.parts(secrets.token_bytes(10 * CHUNK))[:6]
    inbox.listen(Arrived(long.topic(Up.UPDATE), first, token=AckToken(1, 0)))
    intake.turn(PATIENCE_S, lambda: False)
    for number, body in enumerate(later, 1):
        inbox.listen(Arrived(long.topic(Up.UPDATE), body, token=AckToken(1, number)))
    inbox.listen(Arrived(short.topic(Up.UPDATE), short.parts(b"x")[0], token=AckToken(1, 9)))
    intake.turn(PATIENCE_S, lambda: False)
    assert (log.left, len(log.taken)) == (0, 1)
    assert 6 * CHUNK < (tmp_path / "coming" / long.name).stat().st_size < 6 * CHUNK + 1000
