"""The services as processes that can be killed, stopped and started again, each of the very parts it has in earnest."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mizzle import topics
from mizzle.errors import Away, Superseded
from mizzle.messages import Message
from mizzle.transport.bus import BusEvent, Disconnected, Listener
from services.aggregator import combine
from services.anomaly_detector import judge
from services.gateway import deliver, receive
from services.gateway.comings import Comings
from services.gateway.courier import Courier
from services.gateway.deliver import Delivery
from services.gateway.heartbeat import Heartbeat, will
from services.gateway.intake import Inbox, Intake
from services.gateway.mirror import Mirror, Originals
from services.gateway.sweep import sweep
from services.pipeline import FLOW, Hop
from services.privacy_accountant import charge
from services.releaser import release
from services.runtime.service import Booking, Service, Stores
from services.runtime.stage import Stage
from services.selector import invite
from tests.simulation.lines import Line, calm, connect, vanish
from tests.simulation.memory_log import MemoryLog
from tests.simulation.points import Killed, PointedLog, PointedSpool

if TYPE_CHECKING:
    from tests.simulation.around import Around

STEPS: dict[str, tuple[Any, Any]] = {
    "gateway": (deliver.begin, deliver.step),
    "selector": (invite.begin, invite.step),
    "anomaly_detector": (judge.begin, judge.step),
    "privacy_accountant": (charge.begin, charge.step),
    "aggregator": (combine.begin, combine.step),
    "releaser": (release.begin, release.step),
}
SERVICES = tuple(hop.service for hop in FLOW)
BATCH = 16
RECONNECT_MS = 2000


class Process:
    """One life of one service."""

    def __init__(self, world: "Around", hop: Hop, number: int) -> None:
        """A process that has not begun."""
        self.service, self.name = hop.service, f"{hop.service}#{number}"
        self.hop, self._world, self._dead = hop, world, False
        founding = world.founding
        self._reach = partial(world.reach, self)
        self._log = PointedLog(
            MemoryLog(world.store, hop), self._reach, partial(world.taken, self), partial(world.committed, self)
        )
        self._spool = PointedSpool(founding.folder / "payloads", self._reach)
        ledger, service = founding.ledger, Service(hop, *STEPS[hop.service])
        stores = Stores(
            self._log,
            self._spool,
            partial(world.issue, hop.service),
            ledger.facts,
            ledger.blob,
            has_open_window=ledger.has_open_window,
        )
        self._ground = founding.ground(hop)
        if hop.service == "privacy_accountant":
            service = replace(service, book=self._book)
        self._turns = self._begun(service, stores)

    def act(self) -> bool:
        """One turn; whether the last one brought anything."""
        try:
            return self._act()
        except (Killed, StopIteration):
            self._world.buried(self)
        except Superseded:  # a successor holds our place: the process ends, as its shell would end it
            self._world.buried(self)
        return False

    def is_over(self) -> bool:
        """Whether it is dead."""
        return self._dead

    def has_waiting(self, stream: str) -> bool:
        """Whether it reads this stream."""
        return stream in self.hop.reads

    def die(self) -> None:
        """Never act again; whatever it is in the middle of, it does not go on."""
        self._dead = True

    def _begun(self, service: Service[Any], stores: Stores) -> Iterator[float]:
        stage = Stage(service, self._ground, stores, BATCH, clock=self._world.tick_of_servers)
        return stage.turns(lambda: False)

    def _act(self) -> bool:
        pause_s = next(self._turns)
        if pause_s:
            self._world.scheduler.after(round(pause_s * 1000), partial(self._world.scheduler.nudge, self))
        return self._log.brought and not pause_s

    def _book(self, epoch: int, bookings: Sequence[Booking]) -> list[Message]:
        self._reach("before ledger commit")
        said = self._world.book(self._world.founding.ledger, self._ground, epoch, bookings, self._world.now_of_servers)
        self._world.booked(self, epoch, bookings, said)
        self._reach("after ledger commit")
        return said


class Gateway(Process):
    """One life of the gateway: its loop, its intake and its mirror, over two lines."""

    def _begun(self, service: Service[Any], stores: Stores) -> Iterator[float]:
        world, founding = self._world, self._world.founding
        federation = founding.plan.federation
        self.lines = [
            self._line(connect(world.broker, "gateway", manual_ack=True)),
            self._line(connect(world.broker, "gateway-delivery", will=will(federation))),
        ]
        coming, going = self.lines
        heartbeat = Heartbeat(going, coming, federation, self.name, lambda: world.scheduler.now / 1000)
        courier, self._inbox = Courier(going), Inbox()
        originals = Originals(
            federation=federation,
            plan=(founding.plan.digest, founding.plan.canonical),
            model=(founding.plan.model.digest, founding.model),
            releases=founding.ledger.releases,
            blob=founding.ledger.blob,
            keep=4,
        )
        self._mirror = Mirror(originals, courier)
        self._spool.sweep_unfinished()
        self._intake = Intake(
            coming,
            self._inbox,
            heartbeat,
            self.hop,
            receive.begin(founding.plan),
            founding.ledger.device_key,
            founding.ledger.receipt if world.tells_receipts else lambda _: None,
            partial(going.publish, lasting=False),
            Comings(founding.folder / "payloads" / "coming"),
            self._spool,
            self._log,
            now=world.now_of_servers,
            sleep=self._sleep,
        )
        self._intake.resume()
        delivery = Delivery(federation, courier, self._mirror, self._spool)
        service = replace(service, tell=partial(self._tell, delivery), is_well=heartbeat.is_heard)
        coming.subscribe(topics.every_up(federation))
        coming.subscribe(topics.state(federation))
        coming.open(_each(self._inbox.listen, heartbeat.listen, partial(self._back, coming)))
        going.open(_each(courier.listen, self._mirror.listen, heartbeat.listen, partial(self._back, going)))

        def facts() -> list[Message]:
            coming.subscribe(topics.every_up(federation))
            sweep(self._spool, founding.ledger.unneeded)
            return founding.ledger.facts()

        return super()._begun(service, replace(stores, facts=facts))

    def die(self) -> None:
        """Its lines end without a word."""
        super().die()
        for line in self.lines:
            line.drop()
            vanish(self._world.broker, line.inner)

    def _act(self) -> bool:
        if self._mirror._wanted.is_set():
            self._mirror._wanted.clear()
            try:
                self._mirror.refresh()
            except Away:
                self._mirror._wanted.set()
        if first := self._world.scheduler.chance.random() < 0.5:  # its threads come as they come
            self._intake.turn(0, self.is_over)
        more = super()._act()
        if not first:
            self._intake.turn(0, self.is_over)
        return more or bool(self._inbox._waiting)

    def _tell(self, delivery: Delivery, messages: Sequence[Message]) -> None:
        self._reach("before delivery")
        delivery.tell(messages)
        self._reach("after delivery")

    def _sleep(self, seconds: float) -> None:
        self._world.scheduler.run_for(round(seconds * 1000))
        if self._dead:
            raise Killed(self.name)

    def _back(self, line: Line, event: BusEvent) -> None:
        """A line that is down, because a twin took it over, comes back by itself as a real one does."""
        if isinstance(event, Disconnected):
            self._world.scheduler.after(RECONNECT_MS, partial(self._reconnect, line))

    def _reconnect(self, line: Line) -> None:
        broker, scheduler = self._world.broker, self._world.scheduler
        if self._dead or broker.is_up(line.inner):
            return
        if scheduler.is_busy(self):  # a process that is stopped does nothing
            scheduler.after(RECONNECT_MS, partial(self._reconnect, line))
        else:
            broker.connect(line.inner)

    def _line(self, bus: Any) -> Line:
        world = self._world
        later, nudge = world.scheduler.after, partial(world.scheduler.nudge, self)
        return Line(bus, later, calm, world.faults.to_gateway, heard=nudge, reach=self._reach)


def _each(*listeners: Listener) -> Listener:
    def listen(event: BusEvent) -> None:
        for listener in listeners:
            listener(event)

    return listen


def process(world: "Around", hop: Hop, number: int) -> Process:
    """A new life of the service at `hop`."""
    made: Callable[[Around, Hop, int], Process] = Gateway if hop.service == "gateway" else Process
    return made(world, hop, number)
