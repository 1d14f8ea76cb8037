"""A whole federation in one process and one thread, whose time and chance are the caller's.

All of it is what runs in a fleet: each service's pure step, the accountant's book on a SQLite ledger, the spool of
payloads, the gateway's rules and its mirror, each device's session, outbox, sender and trainer. Only what lies between
them is not: the broker is the one in memory, the streams of `services/pipeline.py` are queues of bytes, and a device's
outbox is on no disk.

A `turn` gives everybody the same tick, devices first, then services in the order of the flow, and carries on what they
say until all is quiet. So where everybody answers, one turn is one window: opened, trained for, sealed, released, and
its receipts delivered.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from bench.device import Device
from mizzle import topics
from mizzle.codec import decode_between_services, encode
from mizzle.messages import Candidate, refers_to
from mizzle.moves import Ground, Tick, Told
from mizzle.transport.bus import Arrived
from mizzle.transport.memory import MemoryBroker, MemoryBus
from services.aggregator import combine
from services.anomaly_detector import judge
from services.gateway import deliver, receive
from services.gateway.courier import Courier, Publication
from services.gateway.deliver import Delivery
from services.gateway.mirror import Mirror, Originals
from services.gateway.receive import Came, Probed
from services.ledger import keys
from services.ledger.founding import found
from services.ledger.ledger import Ledger
from services.pipeline import Hop, hop, readers
from services.privacy_accountant import charge
from services.privacy_accountant.book import book
from services.releaser import release
from services.runtime.equipment import Unsigned
from services.runtime.payloads import Spool
from services.runtime.redis_log import Entry
from services.runtime.service import Booking, Service
from services.selector import invite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from mizzle.device.effects import Train
    from mizzle.device.training import Done
    from mizzle.messages import Message
    from mizzle.plan import Plan
    from mizzle.transport.bus import BusEvent

SPOOL_BYTES: Final = 2**32
RELEASES_KEPT: Final = 2
"""How many releases stand at the broker."""


class Flow:
    """A federation of `plan` in `folder`, as yet without devices.

    `seal_for_auditor` seals the noise keys, as in a `Ground`; with `keep_payloads` its payloads are kept for a replay.
    `strays` says why each message was not taken that ended at the gateway.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        model: bytes,
        *,
        seal_for_auditor: Callable[[bytes], bytes] = lambda _: b"",
        keep_payloads: bool = False,
    ) -> None:
        """Found the federation, and let its services begin."""
        url = f"sqlite:///{folder / 'ledger.db'}"
        self._founded = found(url, plan, model, folder / "keys")
        self.ledger = Ledger.open(url, plan.federation)
        self.broker = MemoryBroker()
        self.devices: dict[str, Device] = {}
        self.strays: list[str] = []
        self._plan, self._model, self._seal_for_auditor = plan, model, seal_for_auditor
        self._folder, self._spool = folder, Spool(folder / "payloads", SPOOL_BYTES, keep=keep_payloads)
        self._epoch = self.ledger.issue_epoch("privacy_accountant")
        self._arrivals, self._came = receive.begin(plan), deque[Arrived]()
        self._coming = MemoryBus(self.broker, "gateway", manual_ack=True)
        self._coming.subscribe(topics.every_up(plan.federation))
        self._coming.open(self._overhear)
        self._stations = {service.hop.service: self._station(service) for service in self._services()}
        self._entries, self._now = count(1), 0

    def join(self, device: str, do: Callable[[Train], Done]) -> Device:
        """A new device of this name, which enrols when the next turn comes and then does its tasks by `do`."""
        self.devices[device] = made = Device(self._founded.token(device), self.broker, do)
        return made

    def turn(self, tick: Tick) -> None:
        """Let it be `tick` for everybody, and everything come of it that does."""
        self._now = tick.now
        for device in self.devices.values():
            device.feel(tick)
        self._rest()
        for station in self._stations.values():
            self._take(station, tick)
            self._rest()

    def _rest(self) -> None:
        """Carry what is said to whom it concerns until nobody has said anything."""
        busy = True
        while busy:
            heard = [device.hear() for device in self.devices.values()]
            received = [self._receive(self._came.popleft()) for _ in range(len(self._came))]
            taken = [self._take(station) for station in self._stations.values()]
            busy = any([*heard, *received, *taken])

    # The gateway's two sides.

    def _overhear(self, event: BusEvent) -> None:
        if isinstance(event, Arrived):
            self._came.append(event)

    def _receive(self, arrived: Arrived) -> bool:
        """Take what a device has published to the streams, as the gateway's intake does."""
        sender = receive.sender(arrived.topic)
        key = self.ledger.device_key(sender.device) if sender else None
        taken = receive.receive(self._arrivals, Came(arrived.topic, arrived.body, key, self._now))
        if taken.payload:
            self._spool.put(taken.payload.id, taken.payload.body)
        if taken.probed:
            self._answer(taken.probed)
        if taken.is_stray:
            self.strays.append(f"{taken.reason}: {taken.why}")
        self._say(hop("gateway"), taken.said)
        if arrived.token:
            self._coming.ack(arrived.token)
        return True

    def _answer(self, probed: Probed) -> None:
        """Answer a probe by what the ledger and the store know, as the gateway's intake does."""
        update, size = probed.received.id, probed.received.update.payload.size
        is_stored = self._spool.size(update) == size
        reply = receive.answered(probed, self.ledger.receipt(update), is_stored=is_stored)
        self._say(hop("gateway"), reply.said)
        self._coming.publish(topics.to(self._plan.federation, reply.device, reply.kind), reply.body)

    def _tell(self) -> Callable[[Sequence[Message]], None]:
        going = MemoryBus(self.broker, "gateway-delivery")
        going.open(lambda _: None)
        plan, federation, courier = self._plan, self._plan.federation, AtOnce(going)
        of_plan, of_model = (plan.digest, plan.canonical), (plan.model.digest, self._model)
        originals = Originals(federation, of_plan, of_model, self.ledger.releases, self.ledger.blob, keep=RELEASES_KEPT)
        mirror = Mirror(originals, courier)
        mirror.refresh()
        return Delivery(federation, courier, mirror, self._spool).tell

    # The services.

    def _services(self) -> Iterable[Service[Any]]:
        accountant = hop("privacy_accountant")
        ground = self._ground(accountant)
        return (
            Service(hop("gateway"), deliver.begin, deliver.step, tell=self._tell()),
            Service(hop("selector"), invite.begin, invite.step),
            Service(hop("anomaly_detector"), judge.begin, judge.step),
            Service(accountant, charge.begin, charge.step, book=partial(book, self.ledger, ground)),
            Service(hop("aggregator"), combine.begin, combine.step),
            Service(hop("releaser"), release.begin, release.step),
        )

    def _ground(self, place: Hop) -> Ground:
        signer = keys.read(self._folder / "keys", place.signs) if place.signs else Unsigned()
        return Ground(self._plan, self._model, signer, self._seal_for_auditor, self.ledger.epoch)

    def _station(self, service: Service[Any]) -> _Station:
        ground = self._ground(service.hop)
        return _Station(service, ground, service.begin(ground))

    def _take(self, station: _Station, tick: Tick | None = None) -> bool:
        """Let a service take all that it has not read, then the tick, and carry out what it decides; if there was any.

        The order is that of `services.runtime.stage`: blobs, then the ledger, then the world, then the streams.
        """
        service = station.service
        said: list[Message] = []
        bookings: list[Booking] = []
        unread = [(self._told(service.hop, entry), entry) for entry in station.drained()]
        events: list[tuple[Told | Tick, Entry]] = [*unread, *([(tick, NO_ENTRY)] if tick else [])]
        for event, entry in events:
            moved = service.step(station.ground, station.state, event)
            station.state = moved.state
            said += moved.said
            for blob in moved.kept:
                self._spool.put_blob(hashlib.sha256(blob).digest(), blob)
            attached = event.attached if isinstance(event, Told) else {}
            bookings += [Booking(Told(message, attached), entry.stream, entry.id) for message in moved.booked]
        said += service.book(self._epoch, bookings) if service.book else [one.told.message for one in bookings]
        if service.tell:
            service.tell(said)
        else:
            self._say(service.hop, said)
        self._forget_candidates(service, bookings)
        return bool(unread)

    def _told(self, place: Hop, entry: Entry) -> Told:
        message = decode_between_services(entry.body)
        if type(message) not in place.reads_payload:
            return Told(message)
        found = {key: self._bytes_of(key) for key in refers_to(message)}
        return Told(message, {key: body for key, body in found.items() if body is not None})

    def _bytes_of(self, key: bytes) -> bytes | None:
        body = self._spool.get(key)
        return self.ledger.blob(key) if body is None else body

    def _say(self, place: Hop, messages: Iterable[Message]) -> None:
        """Write messages on the streams that `place` says them on."""
        for message in messages:
            body = encode(message)
            for stream in place.says[type(message)]:
                entry = Entry(stream, f"{self._now}-{next(self._entries)}", body)
                for reader in readers(stream):
                    self._stations[reader].unread.append(entry)

    def _forget_candidates(self, service: Service[Any], bookings: Iterable[Booking]) -> None:
        """Released, the blobs of a candidate are the ledger's; rejected, nobody's."""
        for booking in bookings:
            if service.book and isinstance(booking.told.message, Candidate):
                self._spool.discard_blobs(digest.hex() for digest in booking.told.attached)


NO_ENTRY: Final = Entry("", "", b"")
"""What asked for what a tick has led to."""


class AtOnce(Courier):
    """Takes publications to a broker that has them at once."""

    def deliver(self, publications: Iterable[Publication]) -> None:
        """Return once the broker has all of them."""
        for one in publications:
            self._bus.publish(one.topic, one.body, retain=one.retain)


@dataclass
class _Station:
    """A service at work: where it stands, and what of its streams it has not read."""

    service: Service[Any]
    ground: Ground
    state: Any
    unread: deque[Entry] = field(default_factory=deque)

    def drained(self) -> list[Entry]:
        """What there is to read; from now on it has been."""
        entries = list(self.unread)
        self.unread.clear()
        return entries
