"""Devices that are away for a day or for weeks, and come back with all that they could not say."""

from tests.simulation.faults import CALM, DAY_MS, HOUR_MS
from tests.simulation.fleet_plan import Wish
from tests.simulation.judgement import judged
from tests.simulation.oracle import Violation
from tests.simulation.runs import Course, Report, report, settle, simulated


def course_of(devices: int, windows_a_day: int = 2) -> Course:
    """A federation of so many devices with a window twice a day, and nothing else that goes wrong."""
    goal = max(4, devices // 8)
    wish = Wish(
        devices=devices,
        goal=goal,
        quorum=max(2, goal // 4),
        invite=1.0,  # who is left over sends again every quarter of an hour until the next window, hours later
        deadline_s=3600.0,
        pause_s=24 * 3600 / windows_a_day - 3600,
    )
    return Course(wish=wish, rates=CALM, look_every=max(1, devices // 20))


def away(seed: str, devices: int, days: int = 7) -> Report:
    """A quarter of the fleet is not heard for a day, then away for so long; another quarter is away for a day.

    Raises:
        Violation: as `runs.run`; or the outboxes of those who come back were empty, so that nothing was tried.
    """
    course = course_of(devices)
    with simulated(seed, course) as world:
        world.begin()
        world.scheduler.run_for(HOUR_MS)
        quarter = len(world.devices) // 4
        long, short = world.devices[:quarter], world.devices[quarter : 2 * quarter]
        world.faults.drops.update(device.name for device in long)
        world.scheduler.run_for(DAY_MS)
        for device in (*long, *short):
            device.leave()
        world.faults.drops.clear()
        full = sum(len(device.outbox.waiting()) for device in long)
        world.scheduler.run_for(DAY_MS)
        for device in short:
            device.come_back()
        world.scheduler.run_for((days - 1) * DAY_MS)
        if not full:
            raise Violation("nothing waited in the outboxes of those who were away: this run shows nothing")
        settle(world)
        judged(world.founding.folder, world.devices)
        return report(world)
