"""A whole federation in one thread: its services, devices, broker, Redis and ledger, on a clock that is nobody's."""

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from mizzle.messages import Message
from mizzle.moves import Tick
from mizzle.transport.memory import MemoryBroker
from services.pipeline import FLOW, hop
from services.privacy_accountant.book import book as real_book
from services.runtime.redis_log import Output, Place
from services.runtime.service import Booking
from tests.simulation.around import Book
from tests.simulation.devices import Device
from tests.simulation.faults import CALM, Faults, Rates
from tests.simulation.fleet_plan import BEGINNING, Founding, Wish, founded
from tests.simulation.lines import Line
from tests.simulation.memory_log import MemoryStore
from tests.simulation.oracle import Oracle, Violation
from tests.simulation.points import Killed
from tests.simulation.processes import Process, process
from tests.simulation.scheduler import Scheduler

RESTART_MS = (200, 5000)
LAST_WORDS = 60


@dataclass
class Changes:
    """What is wrong with a system on purpose, to see that the oracle notices: nothing by default."""

    book: Book = real_book
    fences: bool = True
    line: Callable[[Device, Line], Line] = lambda _device, line: line
    tells_receipts: bool = True


class World:
    """A federation that runs when it is told to; everything in it is drawn from `seed`."""

    def __init__(  # noqa: PLR0913  # what may differ is told by name
        self,
        folder: Path,
        wish: Wish,
        seed: str,
        *,
        rates: Rates = CALM,
        changes: Changes | None = None,
        script: dict[tuple[str, str, int], str] | None = None,
    ) -> None:
        """A world in which nothing runs yet."""
        changes = changes or Changes()
        self.seed, self.wish, self.book, self.made_line = seed, wish, changes.book, changes.line
        self.founding: Founding = founded(wish, folder, seed)
        longest = max(1000, round(1000 * min(wish.deadline_s, wish.pause_s or wish.deadline_s) / 2))
        self.scheduler = Scheduler(BEGINNING, Random(f"{seed}/order"), longest, self._tick)
        self.draw = Random(f"{seed}/draw")
        self._entropy = Random(f"{seed}/entropy")
        self.faults = Faults(Random(f"{seed}/faults"), rates, dict(script or {}))
        self.store = MemoryStore(self.now_of_servers, self._grown, 40 if rates.misfortune else 0)
        self.store.fences = changes.fences
        self.tells_receipts = changes.tells_receipts
        self.founding_at = BEGINNING
        self.broker = MemoryBroker()
        self.reached: Counter[str] = Counter()
        self.offsets: Counter[str] = Counter()
        self._digest, self.said = hashlib.sha256(), deque[str](maxlen=LAST_WORDS)
        self.oracle = Oracle(self.founding)
        self.processes: dict[str, list[Process]] = {place.service: [] for place in FLOW}
        self._lives: Counter[str] = Counter()
        self._due: set[str] = set()
        self.devices = [Device(self, name) for name in self.founding.device_keys]

    # What happens in it ---------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start every service and switch on every device."""
        for place in FLOW:
            self.start(place.service)
        for device in self.devices:
            self.scheduler.after(self.draw.randrange(1, 10_000), device.wake)

    def run_for(self, ms: int) -> None:
        """Let so much time pass, with whatever goes wrong meanwhile."""
        until = self.scheduler.now + ms
        while self.scheduler.now < until:
            self.scheduler.step(until)
            self.faults.strike(self)

    def start(self, service: str) -> None:
        """One more process of the service, beside any that there is."""
        self._due.discard(service)
        self._lives[service] += 1
        started = process(self, hop(service), self._lives[service])
        self.say("started", started.name)
        self.processes[service].append(started)
        self.scheduler.wake(started)

    def kill(self, service: str) -> None:
        """Kill what runs of the service; its supervisor starts it again soon."""
        for running in tuple(self.processes[service]):
            self.say("killed", running.name)
            self.buried(running)

    def buried(self, ended: Process) -> None:
        """A process has ended; if it was the last of its service, another one is started soon."""
        ended.die()
        if ended in self.processes[ended.service]:
            self.processes[ended.service].remove(ended)
        if not self.processes[ended.service] and ended.service not in self._due:
            self._due.add(ended.service)
            self.scheduler.after(self.draw.randrange(*RESTART_MS), lambda: self._again(ended.service))

    def jump(self, machine: str, ms: int) -> None:
        """The machine's clock shows so much more from now on."""
        self.offsets[machine] += ms
        self.say("clock", machine, ms)

    def set_right(self, machine: str) -> None:
        """The machine's clock shows the time again."""
        if self.offsets[machine]:
            self.jump(machine, -self.offsets[machine])

    def heal(self) -> None:
        """Nothing goes wrong from now on: what was away is there, what was off is on, clocks are set right."""
        self.faults.heal()
        for machine in sorted(self.offsets):
            self.set_right(machine)
        self.store.is_away = False
        self.say("healed")
        for device in self.devices:
            device.come_back()

    # What its parts are given ---------------------------------------------------------------------------------------

    def now_of(self, machine: str) -> int:
        """What the machine's clock shows."""
        return self.scheduler.now + self.offsets[machine]

    def offset_of(self, machine: str) -> int:
        """How much the machine's clock is ahead."""
        return self.offsets[machine]

    def now_of_servers(self) -> int:
        """What the servers' clock shows."""
        return self.now_of("servers")

    def tick_of(self, machine: str) -> Tick:
        """The moment, and chance."""
        return Tick(self.now_of(machine), self._entropy.randbytes(32))

    def tick_of_servers(self) -> Tick:
        """The moment and chance of the servers."""
        return self.tick_of("servers")

    def issue(self, service: str, held: int) -> int:
        """The next epoch of the service, for whoever held the one before, or begins."""
        epoch = self.founding.ledger.issue_epoch(service, held)
        self._ask(lambda: self.oracle.issued(service, epoch))
        return epoch

    def reach(self, actor: Process | Device, point: str) -> None:
        """Somebody is between two effects of an act of its own; what a line tells it meanwhile is no act."""
        if not self.scheduler.is_busy(actor):
            return
        if actor.is_over():
            raise Killed(actor.name)
        self.reached[f"{actor.service if isinstance(actor, Process) else 'device'}: {point}"] += 1
        self.faults.at(self, actor, point)
        if actor.is_over():  # it was killed while it stood still
            raise Killed(actor.name)

    # What is told of it ---------------------------------------------------------------------------------------------

    def taken(self, actor: Process, epoch: int) -> None:
        """A place was taken."""
        self.say("took", actor.name, epoch)
        self._ask(lambda: self.oracle.took(actor.service, epoch))

    def committed(self, actor: Process, place: Place, outputs: Sequence[Output]) -> None:
        """A stage's commit took effect."""
        said = hashlib.sha256(b"".join(output.body for output in outputs)).hexdigest()[:8]
        self.say("committed", actor.name, place.epoch, place.version, len(outputs), said)
        self._ask(lambda: self.oracle.committed(actor.name, actor.service, place.epoch))

    def booked(self, actor: Process, epoch: int, bookings: Sequence[Booking], said: Sequence[Message]) -> None:
        """The ledger was written."""
        if bookings:
            self.say("booked", actor.name, epoch, len(bookings), len(said))
            self._ask(lambda: self.oracle.booked(actor.name, actor.service, epoch))

    def kept(self, device: str, update: bytes) -> None:
        """An update is in its device's outbox."""
        self.say("kept", device, update.hex()[:8])
        self.oracle.kept(device, update)

    def cleared(self, device: str, update: bytes) -> None:
        """An update has left its device's outbox."""
        self.say("cleared", device, update.hex()[:8])

    def say(self, *words: object) -> None:
        """One line of the history."""
        line = f"{self.scheduler.now - BEGINNING} {' '.join(map(str, words))}"
        self._digest.update(f"{line}\n".encode())
        self.said.append(line)

    @property
    def digest(self) -> str:
        """SHA-256 of the history so far."""
        return self._digest.copy().hexdigest()

    def _ask(self, claim: Callable[[], None]) -> None:
        """Let the oracle look; a violation ends the run, and not only the act that it came up in."""
        try:
            claim()
        except Violation as violation:
            self.scheduler.broken = self.scheduler.broken or violation
            raise

    def _again(self, service: str) -> None:
        if service in self._due:
            self.start(service)

    def _grown(self, stream: str) -> None:
        for service, running in self.processes.items():
            if stream in hop(service).reads:
                for one in running:
                    self.scheduler.wake(one)

    def _tick(self) -> None:
        for running in self.processes.values():
            for one in running:
                self.scheduler.nudge(one)
