"""What is decided about an update, given what the ledger holds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as replace_struct

from mizzle.envelope import Key
from mizzle.errors import Misconfigured
from mizzle.messages import BlobRef, Halt, ModelRef, Update, Verdict, Window
from mizzle.moves import Ground, Tick, Told
from services.privacy_accountant.charge import (
    Bind,
    Refuse,
    Sender,
    Standing,
    State,
    Wait,
    begin,
    late,
    place,
    stale_weight,
    step,
    terms_of,
    window_of,
)
from tests.services.federations import opening
from tests.services.plans import MODEL, plan

PLAN = plan()
BASE = ModelRef(version=0, digest=PLAN.model.digest, size=PLAN.model.size)
WINDOW = window_of(PLAN, 5, BASE, opening(4, ()), ("pump-1", "pump-2", "pump-3"))
NEXT = window_of(PLAN, 6, BASE, opening(5, ()), ("pump-1", "pump-2", "pump-3"))
OPEN = Standing(last=5, target=WINDOW, late=0, halted=False)
ENDED = Standing(last=5, target=None, late=0, halted=False)
LATER = Standing(last=6, target=NEXT, late=0, halted=False)
GROUND = Ground(PLAN, MODEL, Key(bytes(32)), lambda _: b"")


def verdict(
    device: str = "pump-1", plan: bytes = PLAN.digest, base: bytes = BASE.digest, refused: str | None = None
) -> Verdict:
    update = Update(
        federation="pumps",
        device=device,
        window=5,
        base=base,
        plan=plan,
        nonce=bytes(16),
        payload=BlobRef(digest=bytes(32), size=1),
    )
    return Verdict(id=bytes(32), update=update, sealed=b"", decided_by="norm", score=2.0, refused=refused)


def placed(
    what: Verdict, named: Window | None = WINDOW, standing: Standing = OPEN, *, has_sent: bool = False
) -> Bind | Wait | Refuse:
    is_invited = named is not None and what.update.device in named.cohort
    return place(terms_of(PLAN), what, named, standing, Sender(is_invited, has_sent))


def reason(decided: Bind | Wait | Refuse) -> str:
    assert isinstance(decided, Refuse)
    return decided.reason


def test_an_update_in_time_counts_in_full() -> None:
    assert placed(verdict()) == Bind(window=5, weight=64, staleness=0)


def test_an_update_of_no_window_is_refused() -> None:
    assert reason(placed(verdict(), named=None)) == "unknown-window"


def test_an_update_of_another_plan_is_refused() -> None:
    assert reason(placed(verdict(plan=bytes(32)))) == "wrong-plan"


def test_an_update_of_another_model_is_refused() -> None:
    assert reason(placed(verdict(base=bytes(32)))) == "wrong-base"


def test_an_update_of_a_device_that_was_not_invited_is_refused() -> None:
    assert reason(placed(verdict("pump-9"))) == "uninvited"


def test_a_second_update_for_one_window_is_refused() -> None:
    assert reason(placed(verdict(), has_sent=True)) == "second"


def test_a_refused_content_is_the_zero_update_while_its_window_is_open() -> None:
    assert placed(verdict(refused="too long")) == Refuse("norm", "too long", zero_in=5)


def test_a_refused_content_that_comes_late_is_in_no_window() -> None:
    assert placed(verdict(refused="too long"), standing=LATER) == Refuse("norm", "too long", zero_in=None)


def test_what_has_no_place_is_no_zero_update() -> None:
    """Who was not invited has not arrived, whatever the content."""
    assert placed(verdict("pump-9", refused="too long")) == Refuse(
        "uninvited", "pump-9 was not invited to window 5", zero_in=None
    )


def test_a_late_update_is_folded_into_the_open_window() -> None:
    assert placed(verdict(), standing=LATER) == Bind(window=6, weight=45, staleness=1)


def test_a_late_update_waits_where_no_window_is_open() -> None:
    assert placed(verdict(), standing=ENDED) == Wait()


def test_a_late_update_waits_where_other_late_ones_fill_the_window() -> None:
    assert placed(verdict(), standing=replace(LATER, late=3)) == Wait()


def test_late_updates_never_keep_out_the_cohort() -> None:
    """Three late ones and three of the cohort are the six that the window's sum has room for."""
    assert NEXT.most == 6
    assert placed(verdict(), standing=replace(OPEN, late=3)) == Bind(window=5, weight=64, staleness=0)


def test_a_late_update_is_refused_where_the_plan_folds_none() -> None:
    assert reason(late(plan(late="refuse"), 5, LATER)) == "late"


def test_an_update_that_is_too_late_is_refused() -> None:
    assert late(PLAN, 4, LATER) == Bind(window=6, weight=36, staleness=2)
    assert reason(late(PLAN, 3, LATER)) == "stale"


def test_staleness_is_that_of_the_next_window_while_none_is_open() -> None:
    assert late(PLAN, 4, ENDED) == Wait()
    assert reason(late(PLAN, 3, ENDED)) == "stale"


def test_a_late_update_is_refused_once_no_window_opens_any_more() -> None:
    assert reason(placed(verdict(), standing=replace(ENDED, halted=True))) == "ended"


@given(st.integers(0, 2000))
def test_the_weight_of_staleness_is_rounded_down(staleness: int) -> None:
    """⌊64/√(1+τ)⌋ = w, said without a root: w²·(1+τ) ≤ 64² < (w+1)²·(1+τ)."""
    weight = stale_weight(staleness)
    assert weight**2 * (1 + staleness) <= 64**2 < (weight + 1) ** 2 * (1 + staleness)


def test_one_draw_of_noise_covers_all_that_a_device_has_in_a_sum() -> None:
    """Sensitivities add before they are squared: at σ = 2·64·S, 64 costs 1/4, and 64 more cost 3/4."""
    terms = terms_of(PLAN)
    assert (terms.loss(0, 64), terms.loss(64, 64), terms.loss(64, 0)) == (2**32 // 4, 3 * 2**32 // 4, 0)


@pytest.mark.parametrize("stricter", ["device_budget", "federation_budget"])
def test_the_stricter_budget_is_the_limit(stricter: str) -> None:
    strict = replace_struct(PLAN, privacy=replace_struct(PLAN.privacy, **{stricter: 2.0}))
    assert terms_of(strict).limit == terms_of(plan(budget=2.0)).limit < terms_of(PLAN).limit


def test_a_budget_beyond_all_integers_of_the_ledger_is_cut() -> None:
    assert terms_of(plan(budget=1e12)).limit == 2**62


def test_an_accountant_whose_windows_could_wrap_does_not_begin() -> None:
    wide = plan(goal=2**31, noise=1e6)
    with pytest.raises(Misconfigured, match="2\\^62"):
        begin(Ground(wide, MODEL, Key(bytes(32)), lambda _: b""))
    assert begin(GROUND) == State()


def test_everything_that_is_heard_is_booked_and_time_is_not() -> None:
    halt = Halt(after=1, reason="budget", why="")
    assert step(GROUND, State(), Told(halt)).booked == (halt,)
    assert step(GROUND, State(), Tick(1, bytes(32))).booked == ()
