"""What comes from devices is taken in batches, and stored once however often a batch is tried."""

import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mizzle.codec import decode
from mizzle.errors import Away
from mizzle.messages import Received
from mizzle.parts import CHUNK
from mizzle.topics import Up
from mizzle.transport import memory
from mizzle.transport.bus import AckToken, Arrived
from services.gateway import receive
from services.gateway.comings import Comings
from services.gateway.heartbeat import Heartbeat
from services.gateway.intake import Inbox, Intake
from services.pipeline import hop
from services.runtime.payloads import Spool
from services.runtime.redis_log import Output
from tests.services.gateway.devices import Device

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


PUMP, MILL = Device(), Device(name="mill-1", seed=8)
SHORT, LONG = b"levels", secrets.token_bytes(5 * CHUNK - 7)


class OftenAway:
    """Streams that are away so many times before they take anything."""

    def __init__(self, times: int) -> None:
        self.left, self.taken = times, list[Output]()

    def append(self, outputs: Sequence[Output]) -> None:
        if outputs and self.left:
            self.left -= 1
            raise Away("the streams are away")
        self.taken += outputs


class Gateway:
    """An intake on what lies in a folder, whose streams are away so many times."""

    def __init__(self, folder: Path, away: int) -> None:
        bus = memory.MemoryBus(memory.MemoryBroker(), "gateway")
        self.log, self.inbox, self.spool = OftenAway(away), Inbox(linger_s=0.0), Spool(folder, 2**30)
        self.arrivals = receive.Arrivals("barn", most_payload=2**30)
        self.intake = Intake(
            bus,
            self.inbox,
            Heartbeat(bus, bus, "barn"),
            hop("gateway"),
            self.arrivals,
            {device.name: device.key.public_key for device in (PUMP, MILL)}.get,
            lambda _: None,
            lambda *_: None,
            Comings(folder / "coming"),
            self.spool,
            self.log,
            sleep=lambda _: None,
        )
        self.intake.resume()

    def take(self, *said: tuple[Device, bytes]) -> None:
        """Take these updates or parts of them as one batch."""
        for number, (device, body) in enumerate(said):
            self.inbox.listen(Arrived(device.topic(Up.UPDATE), body, token=AckToken(1, number)))
        self.intake.turn(0.0, lambda: False)

    def updates(self) -> list[bytes]:
        """Whose payloads it has told of, in the order of the telling."""
        return [decode(output.body, Received).id for output in self.log.taken]


def test_parts_are_stored_once_however_often_the_streams_are_away(tmp_path: Path) -> None:
    """A part is appended, so storing a batch again at each try made a file of megabytes in a minute without Redis."""
    gateway = Gateway(tmp_path, away=50)
    said = PUMP.parts(LONG)
    gateway.take((PUMP, said[0]))
    gateway.take((PUMP, said[1]), (MILL, MILL.parts(SHORT)[0]), (PUMP, said[2]))
    assert (gateway.log.left, len(gateway.updates())) == (0, 1)
    assert (tmp_path / "coming" / "pump-7").stat().st_size == sum(4 + len(part) for part in said[:3])


def test_parts_that_come_again_to_a_gateway_that_resumed_are_not_stored_again(tmp_path: Path) -> None:
    said, short = PUMP.parts(LONG), MILL.parts(SHORT)[0]
    Gateway(tmp_path, away=0).take(*((PUMP, part) for part in said[:3]))
    stored = (tmp_path / "coming" / "pump-7").read_bytes()
    gateway = Gateway(tmp_path, away=50)
    gateway.take(*((PUMP, part) for part in said[:3]), (MILL, short))
    assert (tmp_path / "coming" / "pump-7").read_bytes() == stored
    gateway.take(*((PUMP, part) for part in said[3:]))
    long = gateway.updates()[-1]
    assert (gateway.spool.get(long), list((tmp_path / "coming").iterdir())) == (LONG, [])
