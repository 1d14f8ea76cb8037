"""What goes wrong, drawn from a seed: at the points between effects, on the lines, and to whole machines.

`Faults.calm()` draws nothing. Each kind of fault is counted by its name, so that a run can say what it went through.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.lines import die
from tests.simulation.points import Killed
from tests.simulation.processes import SERVICES, Process

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.around import Around
    from tests.simulation.devices import Device

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True)
class Rates:
    """How often something goes wrong: per point, per message, and per scheduler's step."""

    kill: float = 0.002
    pause: float = 0.001
    kill_device: float = 0.002
    late: float = 0.05
    twice: float = 0.03
    lost: float = 0.02
    misfortune: float = 0.004
    longest_pause_ms: int = 2 * MINUTE_MS
    longest_absence_ms: int = 2 * DAY_MS


CALM = Rates(kill=0, pause=0, kill_device=0, late=0, twice=0, lost=0, misfortune=0)


@dataclass
class Faults:
    """The faults of a run; `script` are those that come at the n-th time that a service reaches a point."""

    chance: Random
    rates: Rates = CALM
    script: dict[tuple[str, str, int], str] = field(default_factory=dict)
    drops: "set[str]" = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    depth: int = 0
    left_out: frozenset[str] = frozenset()

    def heal(self) -> None:
        """Nothing goes wrong from now on."""
        self.rates = CALM
        self.drops.clear()
        self.script.clear()

    def at(self, world: "Around", actor: "Process | Device", point: str) -> None:
        """Go on, die here, or stand still here for a while."""
        service = actor.service if isinstance(actor, Process) else "device"
        scripted = self.script.pop((service, point, world.reached[f"{service}: {point}"]), "")
        rates = self.rates
        if scripted == "kill" or self._draws(rates.kill if isinstance(actor, Process) else rates.kill_device):
            self.counts[f"killed {point}"] += 1
            world.say("killed", actor.name, point)
            raise Killed(actor.name)
        if isinstance(actor, Process) and self.depth < 2 and (scripted == "pause" or self._draws(rates.pause)):
            self.counts[f"stopped {point}"] += 1
            self.depth += 1
            try:
                self._pause(world, actor, point)
            finally:
                self.depth -= 1

    def _pause(self, world: "Around", actor: Process, point: str) -> None:
        """Stand still while a successor takes the place, and go on as if nothing had been."""
        ms = self.chance.randrange(100, max(101, self.rates.longest_pause_ms))
        world.say("stopped", actor.name, point, ms)
        world.start(actor.service)
        world.scheduler.run_for(ms)
        world.say("goes on", actor.name, point)

    def from_device(self, device: str, topic: str) -> Sequence[int]:
        """When what a device publishes arrives."""
        if device in self.drops and topic.endswith("/update"):
            return ()
        return self._fates(may_be_lost=topic.endswith("/update"))

    def to_device(self, device: str, topic: str) -> Sequence[int]:
        """When what is said to a device arrives."""
        del device
        return self._fates(may_be_lost=topic.endswith(("/receipt", "/invitation", "/identity")))

    def to_gateway(self, topic: str) -> Sequence[int]:
        """How often the gateway is brought what a device said: the broker may bring it twice."""
        return (0, 0) if "/up/" in topic and self._draws(self.rates.twice, "twice to the gateway") else (0,)

    def _fates(self, *, may_be_lost: bool) -> Sequence[int]:
        if may_be_lost and self._draws(self.rates.lost, "lost on the way"):
            return ()
        if self._draws(self.rates.twice, "twice"):
            return (0, self._delay())
        return (self._delay(),) if self._draws(self.rates.late, "late") else (0,)

    def _delay(self) -> int:
        return self.chance.choice((5, 50, 500, 5000, 30_000))

    def _draws(self, rate: float, name: str = "") -> bool:
        if rate <= 0 or self.chance.random() >= rate:
            return False
        if name:
            self.counts[name] += 1
        return True

    def strike(self, world: "Around") -> None:
        """Perhaps something happens to a whole machine."""
        if not self._draws(self.rates.misfortune):
            return
        name = self.chance.choice([name for name in MISFORTUNES if name not in self.left_out])
        self.counts[name] += 1
        world.say("misfortune", name)
        MISFORTUNES[name](world, self)


def _service_dies(world: "Around", faults: Faults) -> None:
    world.kill(faults.chance.choice(SERVICES))


def _twin_starts(world: "Around", faults: Faults) -> None:
    world.start(faults.chance.choice(SERVICES))


def _device_dies(world: "Around", faults: Faults) -> None:
    device = faults.chance.choice(world.devices)
    device.die()
    world.scheduler.after(faults.chance.randrange(1000, HOUR_MS), device.wake)


def _device_is_away(world: "Around", faults: Faults) -> None:
    device = faults.chance.choice(world.devices)
    device.leave()
    world.scheduler.after(faults.chance.randrange(1000, faults.rates.longest_absence_ms or 1001), device.come_back)


def _device_is_not_heard(world: "Around", faults: Faults) -> None:
    name = faults.chance.choice(world.devices).name
    faults.drops.add(name)
    world.scheduler.after(faults.chance.randrange(MINUTE_MS, HOUR_MS), lambda: faults.drops.discard(name))


def _redis_is_empty(world: "Around", _faults: Faults) -> None:
    world.store.empty()


def _redis_goes_back(world: "Around", faults: Faults) -> None:
    world.store.back(faults.chance.randrange(1, 30))


def _redis_is_away(world: "Around", faults: Faults) -> None:
    def comes() -> None:
        world.store.is_away = False

    world.store.is_away = True
    world.scheduler.after(faults.chance.randrange(10, 5000), comes)


def _broker_dies(world: "Around", faults: Faults) -> None:
    lost = [faults.chance.random() < 0.5 for _ in range(3)]  # a coin
    die(world.broker, faults.chance, sessions=lost[0], queues=lost[1], retained=lost[2])


def _spool_loses(world: "Around", faults: Faults) -> None:
    lying = sorted((world.founding.folder / "payloads").glob("??/*"))
    for path in lying:
        if faults.chance.random() < 0.5:  # a coin
            path.unlink()


def _servers_clock_jumps(world: "Around", faults: Faults) -> None:
    _clock_jumps(world, faults, "servers")


def _devices_clock_jumps(world: "Around", faults: Faults) -> None:
    _clock_jumps(world, faults, faults.chance.choice(world.devices).name)


def _clock_jumps(world: "Around", faults: Faults, machine: str) -> None:
    """The clock is a day off, and is set right some time later."""
    world.jump(machine, faults.chance.choice((-DAY_MS, DAY_MS)))
    world.scheduler.after(faults.chance.randrange(1000, 10 * MINUTE_MS), lambda: world.set_right(machine))


MISFORTUNES: "dict[str, Callable[[Around, Faults], None]]" = {
    "a service dies": _service_dies,
    "a twin starts": _twin_starts,
    "a device dies": _device_dies,
    "a device is away": _device_is_away,
    "a device is not heard": _device_is_not_heard,
    "redis is empty": _redis_is_empty,
    "redis goes back": _redis_goes_back,
    "redis is away": _redis_is_away,
    "the broker dies": _broker_dies,
    "the spool loses payloads": _spool_loses,
    "the servers' clock jumps": _servers_clock_jumps,
    "a device's clock jumps": _devices_clock_jumps,
}
