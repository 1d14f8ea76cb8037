"""An update is judged by itself and its device's own past: exactly, and with the same verdict when it comes again."""

import numpy as np
import pytest

from mizzle.errors import Misconfigured
from mizzle.grid import Levels, fit
from mizzle.messages import Received, Verdict
from mizzle.moves import Moved, Told
from mizzle.terms import bound_of, codec_of, grid_of
from services.anomaly_detector import judge
from services.anomaly_detector.judge import LOOKS_BACK, State, begin, step
from services.runtime.states import recalled, remembered
from tests.makers import fold, ground, one_hot, payload, plan, received, tick

GROUND = ground()
START = begin(GROUND)


def told(device: str = "pump-1", number: int = 1, scale: float = 1.0, nonce: str = "") -> Told:
    """An update of `device` in window `number`, `scale` times as long as it may be."""
    body = payload(one_hot(3) * scale, number)
    said = received(device, body, number, nonce=nonce)
    return Told(said, {said.id: body})


def handmade(body: bytes) -> Told:
    said = received("pump-1", body)
    return Told(said, {said.id: body})


def verdicts(moved: Moved[State]) -> list[Verdict]:
    return [said for said in moved.said if isinstance(said, Verdict)]


def refusals(moved: Moved[State]) -> list[str | None]:
    return [verdict.decided_by if verdict.refused else None for verdict in verdicts(moved)]


def long_past(device: str = "pump-1", scale: float = 0.02, length: int = 8) -> list[Told]:
    return [told(device, number, scale) for number in range(1, length + 1)]


def test_an_update_that_fits_is_let_through_with_its_highest_score() -> None:
    event = told()
    (verdict,) = verdicts(step(GROUND, START, event))
    said = event.message
    assert isinstance(said, Received)
    assert verdict == Verdict(
        id=said.id, update=said.update, sealed=said.sealed, decided_by="norm", score=verdict.score
    )
    assert verdict.score == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("excess", "refused"), [(0, [None]), (1, ["norm"])])
def test_the_bound_is_kept_to_the_last_integer(excess: int, refused: list[str | None]) -> None:
    """The largest multiplier that fits passes, the next one does not."""
    body = payload(one_hot(3))
    squares = codec_of(plan()).decode(body, grid_of(plan())).sum_of_squares
    multiplier = fit(2**32 - 1, squares, bound_of(plan())) + excess
    moved = step(GROUND, START, handmade(multiplier.to_bytes(4, "little") + body[4:]))
    assert refusals(moved) == refused
    assert (verdicts(moved)[0].score > 1) == bool(excess)


def test_integers_decide_where_floats_cannot_tell() -> None:
    """The approximations p/q of √2 lie by turns above and below it, at last by less than a float resolves."""
    p, q, seen = 1, 1, []
    while q < 2**30:
        p, q = p + 2 * q, p + q
        norm = judge._norm(Levels(q, np.ones(2, np.int8)), p)
        seen.append((norm > 1, 2 * q * q > p * p))
    assert [by_norm for by_norm, _ in seen] == [exactly for _, exactly in seen]


def test_the_norm_is_asked_although_the_plan_does_not_name_it() -> None:
    land = ground(plan(judge='scores = ["history"]'))
    moved = step(land, begin(land), handmade(b"\xff" * len(payload(one_hot(3)))))
    assert refusals(moved) == ["norm"]


@pytest.mark.parametrize("body", [b"", b"\0" * 7, payload(one_hot(3)) + b"\0"])
def test_bytes_that_are_no_update_of_the_plan_are_refused_for_their_shape(body: bytes) -> None:
    moved = step(GROUND, START, handmade(body))
    assert (refusals(moved), moved.state) == (["shape"], START)
    assert "refuse it" in str(verdicts(moved)[0].refused)


def test_an_update_without_its_payload_is_not_judged() -> None:
    assert step(GROUND, START, Told(told().message)) == Moved(START)


def test_time_changes_nothing() -> None:
    assert step(GROUND, START, tick()) == Moved(START)


def test_an_update_out_of_proportion_to_its_device_s_past_is_refused() -> None:
    moved = fold(step, GROUND, START, [*long_past(), told(number=9, scale=0.5)])
    assert refusals(moved) == [None] * 8 + ["history"]
    assert verdicts(moved)[-1].score == pytest.approx(2.5, rel=0.01)


def test_what_other_devices_sent_decides_nothing() -> None:
    alone = step(GROUND, START, told("pump-2", 9, 0.5))
    among = fold(step, GROUND, START, [*long_past(), told("pump-2", 9, 0.5)])
    assert verdicts(among)[-1:] == verdicts(alone)


def test_what_was_refused_is_no_part_of_a_device_s_past() -> None:
    before = fold(step, GROUND, START, long_past()).state
    after = step(GROUND, before, told(number=9, scale=0.5)).state
    assert after == before


def test_only_the_newest_sixteen_are_compared() -> None:
    """A device that sends more and more is compared with what it sends by now."""
    short = [told(number=number, scale=0.02) for number in range(1, 20)]
    longer = [told(number=number, scale=0.15) for number in range(20, 20 + LOOKS_BACK)]
    moved = fold(step, GROUND, START, [*short, *longer, told(number=40, scale=1.0)])
    assert set(refusals(moved)) == {None}


def test_an_update_received_again_gets_the_same_verdict_and_changes_nothing() -> None:
    events = [*long_past(length=24), told(number=25, scale=0.1)]
    once = fold(step, GROUND, START, events)
    again = fold(step, GROUND, once.state, events[-LOOKS_BACK:])
    assert (again.state, again.said) == (once.state, once.said[-LOOKS_BACK:])


def test_a_second_update_for_a_window_does_not_lengthen_the_past() -> None:
    once = step(GROUND, START, told())
    assert step(GROUND, once.state, told(nonce="second")).state == once.state


def test_the_past_of_a_device_stays_short() -> None:
    moved = fold(step, GROUND, START, long_past(length=100))
    assert len(moved.state.accepted["pump-1"]) == 2 * LOOKS_BACK


def test_a_state_that_was_stored_judges_as_it_did() -> None:
    state = fold(step, GROUND, START, long_past()).state
    assert recalled(remembered(state), START) == state


def test_a_score_that_is_not_here_stops_the_service_before_it_judges() -> None:
    with pytest.raises(Misconfigured, match="no plug-in 'nothing'"):
        begin(ground(plan(judge='scores = ["nothing"]')))
