"""Histories in which a promise was once broken, each with its name, and what it is now held to.

A run that finds something prints its seed and the end of its history. What was found gets an entry here: a seed with
its course where chance is what it takes, or an act of a few lines that leads there directly.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulation.faults import CALM, DAY_MS, MINUTE_MS
from tests.simulation.fleet_plan import Wish
from tests.simulation.runs import Course, newest
from tests.simulation.world import World

SMALL = Wish(devices=6, goal=3, quorum=2)
QUARTER_MS = 15 * MINUTE_MS


@dataclass(frozen=True)
class Scenario:
    """A history by its name: `act` goes on from a federation that has worked for two minutes."""

    name: str
    act: Callable[[World], None]
    course: Course = field(default_factory=lambda: Course(wish=SMALL, rates=CALM))


def ended(world: World) -> int:
    """How many windows have ended."""
    world.oracle.look()
    return len(world.oracle._before.windows) if world.oracle._before else 0


def is_open(world: World) -> bool:
    """Whether a window is open."""
    world.oracle.look()
    return bool(world.oracle._before and world.oracle._before.open)


def _between_windows(world: World) -> None:
    while is_open(world):
        world.scheduler.run_for(1000)


def servers_clock_is_set_back_between_windows(world: World) -> None:
    """The selector waited a day for its pause to pass: no window opened."""
    _between_windows(world)
    world.scheduler.run_for(1000)
    world.jump("servers", -DAY_MS)
    before = ended(world)
    world.run_for(QUARTER_MS)
    assert ended(world) > before or is_open(world)


def redis_is_emptied_after_the_clock_was_set_back(world: World) -> None:
    """Nobody looked who held its place for a day, so that stages with nothing to commit read a Redis that knew none."""
    _between_windows(world)
    world.jump("servers", -DAY_MS)
    world.scheduler.run_for(2000)
    world.store.empty()
    world.scheduler.run_for(10_000)
    assert {service: held.epoch for service, held in world.store.kept.places.items()} == dict(world.oracle.epochs)


def redis_goes_back_and_gives_an_id_again(world: World) -> None:
    """A clock behind the last entry's id gives the next one the id of an entry that was undone.

    Its reader had read that far, had nothing to commit and so saw no fence: it read on after an id that came again, and
    the aggregate of the open window was never released. Found with seed 222 of 12 devices.
    """
    world.store.remembers = 100
    before = newest(world)
    world.jump("servers", DAY_MS)
    for device in world.devices:
        world.jump(device.name, DAY_MS)
    while newest(world) < before + 2:
        world.scheduler.run_for(1000)
    _between_windows(world)
    said = world.store.stream("combined").last
    while world.store.stream("combined").last == said:
        world.store.back(1)
    for machine in tuple(world.offsets):
        world.set_right(machine)
    world.scheduler.run_for(QUARTER_MS)
    assert newest(world) > before + 2


def a_device_whose_clock_is_set_back_sends_again(world: World) -> None:
    """It waited a day longer than ever before it sent again, on a line that stayed up."""
    device = world.devices[0]
    world.faults.drops.add(device.name)
    for _ in range(30):
        world.scheduler.run_for(MINUTE_MS)
        if device.outbox.waiting():
            break
    assert device.outbox.waiting()
    world.jump(device.name, -DAY_MS)
    world.faults.drops.discard(device.name)
    old = {one.id for one in device.outbox.waiting()}
    world.run_for(2 * QUARTER_MS)
    assert not old & {one.id for one in device.outbox.waiting()}


SCENARIOS = (
    Scenario("redis goes back and gives an id again", redis_goes_back_and_gives_an_id_again),
    Scenario("the servers' clock is set back between windows", servers_clock_is_set_back_between_windows),
    Scenario("redis is emptied after the clock was set back", redis_is_emptied_after_the_clock_was_set_back),
    Scenario("a device whose clock is set back sends again", a_device_whose_clock_is_set_back_sends_again),
)
