"""Every world that a crash, a stopped twin or a loss can lead to, of the real loop, steps and ledger.

The bounds are in the parameters. In each world all claims hold, and from each of them every update gets its receipt
once faults stop. Each wrong system is refuted within such a bound, by the claim that it breaks.
"""

import logging
from collections.abc import Iterator

import pytest
import structlog

from mizzle.plan import Plan
from tests.exploration.moves import Explored
from tests.exploration.search import explore
from tests.exploration.small import plan_of
from tests.exploration.system import System
from tests.exploration.world import Faults
from tests.exploration.wrong import WRONG

BOUNDS = {
    "a deadline": Faults(),
    "a deadline, and a crash after any effect": Faults(crash=1),
    "a process that is stopped anywhere": Faults(stop=1, deadlines=0),
    "the accountant dies, and one that was stopped wakes": Faults(
        crash=1, stop=1, deadlines=0, stops="privacy_accountant"
    ),
    "Redis is emptied": Faults(empty=1, deadlines=0),
    "a deadline, and an update that comes twice or is lost": Faults(repeat=1, lose=1, together=1),
}
PLANS = {
    "late ones wait": plan_of(late="fold"),
    "both are a quorum": plan_of(quorum=2),
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What services log of a hundred thousand worlds is for nobody."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("faults", BOUNDS.values(), ids=BOUNDS.keys())
def test_nothing_is_lost_or_doubled_whatever_happens_within(faults: Faults) -> None:
    report = explore(Explored(System(), plan_of()), faults)
    print(report)  # noqa: T201  # the figures
    assert report.broken is None, report


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_nor_in_another_plan(plan: Plan) -> None:
    report = explore(Explored(System(), plan), Faults())
    print(report)  # noqa: T201  # the figures
    assert report.broken is None, report


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_system_is_refuted_by_the_claim_that_it_breaks(name: str) -> None:
    wrong = WRONG[name]
    report = explore(Explored(wrong.system, plan_of()), wrong.faults)
    print(f"{name}: {report}")  # noqa: T201  # the story
    assert report.broken is not None, report
    assert report.broken.claim == wrong.claim, report


def test_two_explorations_see_the_same() -> None:
    one, other = (explore(Explored(System(), plan_of()), Faults()) for _ in range(2))
    assert one == other
    assert one.worlds > 100
