"""Wrong systems, each found by the oracle, and named by it in words."""

import pytest

from tests.simulation.faults import CALM, HOUR_MS, MINUTE_MS, Rates
from tests.simulation.fleet_plan import Wish
from tests.simulation.lines import die
from tests.simulation.oracle import Violation
from tests.simulation.runs import Course, rough, settle, simulated
from tests.simulation.world import Changes, World
from tests.simulation.wrong import HastyLine, charging_each_delivery, deduplicating_in_silence

SMALL = Wish(devices=6, goal=3, quorum=2)


def course(rates: Rates = CALM, **more: object) -> Course:
    return Course(wish=SMALL, rates=rates, rough_ms=6 * MINUTE_MS, **more)  # type: ignore[arg-type]


def rough_and_settled(world: World, of: Course) -> None:
    rough(world, of)
    settle(world, HOUR_MS)


@pytest.mark.parametrize("hasty", [True, False])
def test_devices_that_clear_on_puback_lose_what_a_dying_broker_loses(hasty: bool) -> None:  # noqa: FBT001
    changes = Changes(line=HastyLine) if hasty else Changes()
    with simulated("puback", course(), changes) as world:
        world.begin()
        world.run_for(MINUTE_MS)
        for _ in range(8):
            world.kill("gateway")  # what devices send now lies with the broker alone
            for device in world.devices[:4]:
                device.come_back()
            world.scheduler.run_for(15_000)
            die(world.broker, world.draw, sessions=True, queues=True, retained=False)
            world.run_for(MINUTE_MS)
        if not hasty:
            settle(world)
        assert bool(world.oracle.lost(world.devices)) == hasty


def test_an_unfenced_commit_of_a_twin_that_slept_is_found() -> None:
    script = ((("aggregator", "before stream commit", 6), "pause"),)
    with simulated("twin", course(script=script)) as world:
        rough(world, course())
        settle(world)
        assert world.faults.counts["stopped before stream commit"] == 1
    with (
        simulated("twin", course(script=script), Changes(fences=False)) as world,
        pytest.raises(Violation, match=r"aggregator#1 of epoch \d+ wrote to the streams, and epoch \d+ held its place"),
    ):
        rough(world, course())


def test_charges_without_a_key_are_found() -> None:
    rates = Rates(kill=0, pause=0, kill_device=0, misfortune=0, lost=0, late=0, twice=0.3)
    with (
        simulated("unkeyed", course(rates), Changes(book=charging_each_delivery)) as world,
        pytest.raises(Violation, match=r"charges: drop-\d's budget has"),
    ):
        rough(world, course(rates))


def test_deduplication_by_silence_is_found_as_an_update_without_an_outcome() -> None:
    """Neither the accountant answers an update that it has seen, nor the gateway a probe for it."""
    rates = Rates(kill=0, pause=0, kill_device=0, misfortune=0, lost=0.3, late=0, twice=0)
    silence = Changes(book=deduplicating_in_silence(), tells_receipts=False)
    with (
        simulated("silence", course(rates), silence) as world,
        pytest.raises(Violation, match=r"no answer: [0-9]+ updates wait for an outcome and get none"),
    ):
        rough_and_settled(world, course(rates))
