"""Hypothesis drives a small federation as it likes; whatever it does, the oracle and the judge find nothing.

Its examples are drawn from the text of the machine, the same ones every time: a run that fails here fails everywhere,
and what it found is kept as a scenario.
"""

from contextlib import ExitStack
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from mizzle import topics
from mizzle.transport.bus import Arrived, BusEvent
from mizzle.transport.memory import MemoryBus
from tests.simulation.faults import CALM, DAY_MS, HOUR_MS, MINUTE_MS
from tests.simulation.fleet_plan import Wish
from tests.simulation.judgement import judged
from tests.simulation.lines import die
from tests.simulation.processes import SERVICES
from tests.simulation.runs import Course, settle, simulated
from tests.simulation.world import World

WISH = Wish(devices=6, goal=3, quorum=2)
POINTS = ("after read", "before ledger commit", "after ledger commit", "before stream commit", "after stream commit")
WAITS_MS = (1000, 20_000, MINUTE_MS, 5 * MINUTE_MS)

services = st.sampled_from(SERVICES)
numbers = st.integers(0, WISH.devices - 1)


class Copyist:
    """Somebody who hears what devices publish, and publishes it again."""

    def __init__(self, world: World) -> None:
        self._heard: list[Arrived] = []
        self._bus = MemoryBus(world.broker, "copyist")
        self._bus.open(self._listen)
        self._bus.subscribe(topics.every_up(world.founding.plan.federation))

    def play(self, back: int) -> None:
        """Publish again what was said so many messages ago, and all since."""
        for one in self._heard[-back:]:
            self._bus.publish(one.topic, one.body)

    def _listen(self, event: BusEvent) -> None:
        if isinstance(event, Arrived) and not event.retained and event.topic.endswith("/update"):
            self._heard.append(event)


class Federation(RuleBasedStateMachine):
    """A federation to which anything may happen."""

    @initialize()
    def begin(self) -> None:
        self.after = ExitStack()
        self.world = self.after.enter_context(simulated("machine", Course(wish=WISH, rates=CALM)))
        self.world.store.remembers = 40
        self.copyist = Copyist(self.world)
        self.world.begin()
        self.world.scheduler.run_for(MINUTE_MS)

    @rule(ms=st.sampled_from(WAITS_MS))
    def time_passes(self, ms: int) -> None:
        self.world.run_for(ms)

    @rule(service=services)
    def a_service_dies(self, service: str) -> None:
        self.world.kill(service)

    @rule(service=services, point=st.sampled_from(POINTS), how=st.sampled_from(["kill", "pause"]))
    def it_dies_or_stops_between_two_effects(self, service: str, point: str, how: str) -> None:
        number = self.world.reached[f"{service}: {point}"] + 1
        self.world.faults.script[service, point, number] = how

    @rule(number=numbers)
    def a_device_dies(self, number: int) -> None:
        self.world.devices[number].die()

    @rule(number=numbers)
    def a_device_goes(self, number: int) -> None:
        self.world.devices[number].leave()

    @rule(number=numbers)
    def a_device_comes(self, number: int) -> None:
        self.world.devices[number].come_back()

    @rule(number=numbers)
    def a_device_is_not_heard(self, number: int) -> None:
        self.world.faults.drops ^= {self.world.devices[number].name}

    @rule(back=st.integers(1, 20))
    def what_a_device_sent_is_played_back(self, back: int) -> None:
        self.copyist.play(back)

    @rule()
    def windows_expire(self) -> None:
        self.world.run_for(HOUR_MS)

    @rule(commits=st.integers(1, 40))
    def redis_goes_back_in_time(self, commits: int) -> None:
        self.world.store.back(commits)

    @rule()
    def redis_is_emptied(self) -> None:
        self.world.store.empty()

    @rule(sessions=st.booleans(), queues=st.booleans(), retained=st.booleans())
    def the_broker_dies(self, *, sessions: bool, queues: bool, retained: bool) -> None:
        die(self.world.broker, Random(1), sessions=sessions, queues=queues, retained=retained)

    @rule()
    def payloads_are_lost(self) -> None:
        for path in sorted((self.world.founding.folder / "payloads").glob("??/*")):
            path.unlink()

    @rule(machine=st.sampled_from(["servers", "drop-0", "drop-1"]), days=st.sampled_from([-1, 1]))
    def a_clock_jumps(self, machine: str, days: int) -> None:
        self.world.jump(machine, days * DAY_MS)

    @invariant()
    def the_ledger_is_as_it_must_be(self) -> None:
        if hasattr(self, "world"):
            self.world.oracle.look()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            with self.after:
                settle(self.world)
                judged(self.world.founding.folder, self.world.devices)


@pytest.mark.parametrize(("examples", "steps"), [(8, 12)])
def test_whatever_happens_to_a_federation_nothing_is_lost_and_nothing_counts_twice(examples: int, steps: int) -> None:
    bounded = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Federation, settings=bounded)
