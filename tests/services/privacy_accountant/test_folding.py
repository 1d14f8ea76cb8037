"""An update may count in another window if its integers mean the same there and no promise to its device is weaker."""

from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from mizzle.messages import ModelRef
from mizzle.terms import bound_of, grid_of, mechanism_of
from services.privacy_accountant.charge import Bind, Refuse, Standing, bound, window_of
from services.privacy_accountant.folding import Contract, contract_of, forbids
from tests.services.federations import opening
from tests.services.plans import plan

MADE_FOR = Contract(grid="a" * 64, bound=2**21, weight_cap=64, sigma=2**28, crowd=8)
PLAN = plan()
BASE = ModelRef(version=0, digest=PLAN.model.digest, size=PLAN.model.size)
NAMED, NEXT = (window_of(PLAN, number, BASE, opening(number - 1, ()), ("pump-1",)) for number in (1, 2))


@pytest.mark.parametrize(
    "stricter",
    [
        {},
        {"sigma": 2**29},
        {"crowd": 9},
        {"weight_cap": 32},
        {"bound": 2**22, "sigma": 2**29},  # as much noise for each unit of length
    ],
)
def test_a_contract_that_is_equal_or_stricter_may_have_it(stricter: dict[str, Any]) -> None:
    assert forbids(MADE_FOR, replace(MADE_FOR, **stricter)) is None


@pytest.mark.parametrize(
    ("weaker", "why"),
    [
        ({"grid": "b" * 64}, "its grid is aaaaaaaaaaaaaaaa, the open window's is bbbbbbbbbbbbbbbb"),
        ({"sigma": 2**28 - 1}, "noise of σ = 268435456 for 2097152, the open window has 268435455"),
        ({"bound": 2**22}, "noise of σ"),  # longer updates under the same noise cost more
        ({"bound": 2**21 - 1}, "as long as 2097152, the open window's bound is 2097151"),  # it might not fit
        ({"weight_cap": 65, "sigma": 2**30}, "may weigh 64 at most, in the open window 65"),
        ({"crowd": 7}, "a crowd of 8, the open window's is 7"),
        ({"sigma": 0}, "noise of σ"),  # no noise at all
    ],
)
def test_another_grid_or_a_weaker_contract_may_not(weaker: dict[str, Any], why: str) -> None:
    said = forbids(MADE_FOR, replace(MADE_FOR, **weaker))
    assert said is not None
    assert why in said


def test_the_contract_of_a_window_is_what_the_plan_and_the_window_say() -> None:
    assert contract_of(PLAN, NAMED) == Contract(
        grid=grid_of(PLAN).id,
        bound=bound_of(PLAN),
        weight_cap=64,
        sigma=mechanism_of(PLAN).sigma(64, bound_of(PLAN)),
        crowd=2,
    )


@pytest.mark.parametrize("mode", ["rounds", "buffered"])
def test_no_update_is_bound_to_a_window_of_a_weaker_contract(mode: str) -> None:
    """A window whose bound is smaller: an update of the one before might not fit into what is charged for it."""
    smaller = structs.replace(NEXT, bound=NEXT.bound - 1)
    decided = bound(plan(mode=mode), NAMED, Standing(last=2, target=smaller, late=0, halted=False))
    why = f"it may be as long as {NAMED.bound}, the open window's bound is {smaller.bound}"
    assert decided == Refuse("late", why)
    weight = {"rounds": 45, "buffered": 64}[mode]
    staleness = {"rounds": 1, "buffered": 0}[mode]
    same = Standing(last=2, target=NEXT, late=0, halted=False)
    assert bound(plan(mode=mode), NAMED, same) == Bind(window=2, weight=weight, staleness=staleness)


def test_an_update_of_the_open_window_is_under_its_own_contract() -> None:
    assert bound(PLAN, NAMED, Standing(last=1, target=NAMED, late=0, halted=False)) == Bind(1, 64, 0)
