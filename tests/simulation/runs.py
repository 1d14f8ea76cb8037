"""A run from its founding to its judgement: faults for so long, then none, until everything has come to rest."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from services.local.janitor import workplace
from tests.simulation.faults import CALM, DAY_MS, MINUTE_MS, Rates
from tests.simulation.fleet_plan import Wish
from tests.simulation.judgement import judged
from tests.simulation.oracle import Violation
from tests.simulation.world import Changes, World

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_MS = 2 * DAY_MS
"""A window that was opened by a clock a day ahead may be open for a day once the clock is set right."""


@dataclass(frozen=True)
class Course:
    """What happens in a run: so much time with faults of these rates, after a beginning that is left alone."""

    wish: Wish = field(default_factory=Wish)
    rates: Rates = field(default_factory=Rates)
    calm_ms: int = 2 * MINUTE_MS
    rough_ms: int = 30 * MINUTE_MS
    look_every: int = 1
    script: "tuple[tuple[tuple[str, str, int], str], ...]" = ()


@dataclass(frozen=True)
class Report:
    """What a run went through."""

    seed: str
    digest: str
    steps: int
    virtual_s: int
    updates: int
    windows: int
    releases: int
    looks: int
    faults: dict[str, int]
    reached: dict[str, int]


def run(seed: str, course: Course, changes: Changes | None = None) -> Report:
    """Simulate, and raise `Violation` with the seed and the last words of the history where a promise is broken."""
    with simulated(seed, course, changes) as world:
        rough(world, course)
        settle(world)
        judged(world.founding.folder, world.devices)
        return report(world)


@contextmanager
def simulated(seed: str, course: Course, changes: Changes | None = None) -> "Iterator[World]":
    """A world of this course and seed; a violation in it says how to see it again."""
    with workplace() as folder, quiet():
        script = dict(course.script)
        world = World(folder, course.wish, seed, rates=course.rates, changes=changes, script=script)
        world.oracle.every = course.look_every
        try:
            yield world
        except Violation as violation:
            last = "\n  ".join(world.said)
            violation.add_note(f"seed {seed!r}, at {world.scheduler.steps} steps; the last of its history:\n  {last}")
            raise
        finally:
            world.founding.ledger.engine.dispose()


def rough(world: World, course: Course) -> None:
    """The beginning without faults, then the faults."""
    rates, world.faults.rates = world.faults.rates, CALM
    world.begin()
    world.run_for(course.calm_ms)
    world.faults.rates = rates
    world.run_for(course.rough_ms)


def settle(world: World, patience_ms: int = PATIENCE_MS) -> None:
    """No more faults: every update that is in an outbox gets its outcome, and nobody repairs anything (I31)."""
    world.heal()
    before = newest(world)
    if not _comes(world, lambda: newest(world) > before, patience_ms):
        raise Violation(f"no progress: no window was released {patience_ms // MINUTE_MS} minutes after the last fault")
    for device in world.devices:
        device.trains = False
    _comes(world, lambda: not any(device.outbox.waiting() for device in world.devices), patience_ms)
    world.oracle.rest(world.devices)


def newest(world: World) -> int:
    """The newest release's version; 0 before the first."""
    found = world.founding.ledger.releases(1)
    return found[0].version if found else 0


def _comes(world: World, claim: "Callable[[], bool]", within_ms: int) -> bool:
    """Whether the claim comes true before so much time has passed."""
    until = world.scheduler.now + within_ms
    while not (holds := claim()) and world.scheduler.now < until:
        world.scheduler.run_for(MINUTE_MS)
    return holds


def report(world: World) -> Report:
    """The figures of a run."""
    tables = world.oracle
    tables.look()
    books = tables._before
    assert books is not None
    return Report(
        seed=world.seed,
        digest=world.digest,
        steps=world.scheduler.steps,
        virtual_s=(world.scheduler.now - world.founding_at) // 1000,
        updates=len(tables.updates),
        windows=len(books.windows),
        releases=len(books.releases),
        looks=tables.looks,
        faults=dict(sorted(world.faults.counts.items())),
        reached=dict(sorted(world.reached.items())),
    )


@contextmanager
def quiet() -> "Iterator[None]":
    """Nothing is logged: a simulated year would fill the screen."""
    before: dict[str, Any] = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
