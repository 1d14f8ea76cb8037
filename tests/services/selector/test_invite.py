"""A window is asked for when enough devices are there, once, and each of its cohort is invited with the same bytes."""

import hashlib

import pytest

from mizzle.codec import decode
from mizzle.envelope import Purpose, unseal
from mizzle.errors import Misconfigured
from mizzle.messages import Answer, Closed, Decline, Exhausted, Halt, Invitation, Opening, Presence
from mizzle.moves import Event, Moved, Told
from mizzle.terms import bound_of
from services.runtime.states import recalled, remembered
from services.selector.invite import State, begin, step
from tests.makers import KEY, NOW, base, fold, ground, plan, tick, window

GROUND = ground()
START = begin(GROUND)
OPENED = Told(window())
CLOSED = Told(Closed(window=1))


def seen(device: int, *, online: bool = True) -> Told:
    return Told(Presence(federation="barn", device=f"device-{device}", online=online, examples=9))


def present(count: int) -> list[Told]:
    return [seen(device) for device in range(1, count + 1)]


def openings(*events: Event, state: State = START) -> list[Opening]:
    return [said for said in fold(step, GROUND, state, events).booked if isinstance(said, Opening)]


def invited(moved: Moved[State]) -> list[str]:
    return [said.device for said in moved.said if isinstance(said, Answer)]


def test_a_window_is_asked_for_as_soon_as_all_that_it_invites_are_there() -> None:
    (opening,) = openings(*present(6), tick())
    assert opening == Opening(after=0, cohort=window().cohort, seed=opening.seed, at=NOW)
    assert openings(*present(5), tick()) == []


def test_a_quorum_is_enough_after_as_long_as_a_window_lasts() -> None:
    assert openings(*present(2), tick(), tick(59.9)) == []
    (opening,) = openings(*present(2), tick(), tick(60))
    assert opening.cohort == ("device-1", "device-2")
    assert openings(*present(1), tick(), tick(60)) == []


def test_no_window_is_asked_for_before_the_pause_is_over() -> None:
    land = ground(plan(window="pause_s = 30.0"))
    events: list[Event] = [*present(6), tick(), tick(29.9)]
    assert fold(step, land, START, events).booked == ()
    assert len(fold(step, land, START, [*events, tick(30)]).booked) == 1


def test_a_cohort_is_no_larger_than_the_plan_invites() -> None:
    (opening,) = openings(*present(50), tick())
    assert len(set(opening.cohort)) == 6


def test_the_cohort_and_the_seed_are_drawn_anew_and_the_seed_tells_nothing() -> None:
    one, other = (openings(*present(50), tick(entropy=entropy))[0] for entropy in ("one", "other"))
    assert (one.cohort, one.seed) != (other.cohort, other.seed)
    assert one.seed not in {tick(entropy="one").entropy, hashlib.sha256(tick(entropy="one").entropy).digest()}


def test_the_ledger_is_asked_again_only_when_it_has_not_answered_for_a_while() -> None:
    assert len(openings(*present(6), tick(), tick(1), tick(5))) == 1
    assert len(openings(*present(6), tick(), tick(1), tick(5.001), tick(6))) == 2


def test_a_clock_that_is_set_back_keeps_the_next_window_from_nobody() -> None:
    """What was asked a day from now is asked again at once, and a quorum waits no longer than it did."""
    assert len(openings(*present(6), tick(), tick(-86_400), tick(-86_400 + 5))) == 2
    back: list[Event] = [*present(2), tick(), tick(59), tick(-86_400)]
    assert (len(openings(*back, tick(-86_400 + 59))), len(openings(*back, tick(-86_400 + 60)))) == (0, 1)


def test_who_has_no_budget_left_is_not_asked_for_and_the_ledger_is_asked_again_at_once() -> None:
    poor = Told(Exhausted(devices=("device-1", "device-2")))
    first, second = openings(*present(8), tick(), poor, tick(1))
    assert (len(first.cohort), second.cohort) == (6, tuple(f"device-{number}" for number in range(3, 9)))


def test_where_too_few_have_budget_left_all_are_asked_for_so_that_the_ledger_can_say_the_end() -> None:
    poor = Told(Exhausted(devices=tuple(f"device-{number}" for number in range(1, 6))))
    (opening,) = openings(*present(6), poor, tick())
    assert opening.cohort == window().cohort


def test_who_has_gone_is_not_invited() -> None:
    assert openings(*present(6), seen(3, online=False), tick()) == []
    (opening,) = openings(*present(7), seen(3, online=False), tick())
    assert "device-3" not in opening.cohort


@pytest.mark.parametrize("again", [seen(2), seen(9, online=False)])
def test_a_presence_said_again_changes_nothing(again: Told) -> None:
    state = fold(step, GROUND, START, present(6)).state
    assert step(GROUND, state, again) == Moved(state)


def test_each_of_the_cohort_gets_a_sealed_invitation_to_the_window() -> None:
    moved = step(GROUND, START, OPENED)
    assert invited(moved) == list(window().cohort)
    answer = moved.said[1]
    assert isinstance(answer, Answer)
    envelope = unseal(answer.sealed)
    envelope.verify(KEY.public_key)
    assert (envelope.purpose, envelope.counter) == (Purpose.INVITATION, window().deadline)
    assert (answer.kind, answer.ends) == ("invitation", None)
    assert decode(envelope.header, Invitation) == Invitation(
        federation="barn",
        device="device-2",
        window=1,
        base=base(),
        plan=plan().digest,
        epoch=0,
        deadline=NOW + 60_000,
        seed=window().seed,
        bound=bound_of(plan()),
    )


def test_a_window_heard_again_invites_nobody_twice() -> None:
    once = step(GROUND, START, OPENED).state
    assert step(GROUND, once, OPENED) == Moved(once)


def test_who_comes_back_into_an_open_window_is_invited_again() -> None:
    moved = fold(step, GROUND, START, [*present(2), OPENED, seen(2, online=False), seen(2)])
    assert invited(moved) == [*window().cohort, "device-2"]
    assert moved.said[1] == moved.said[-1]


@pytest.mark.parametrize("events", [[OPENED, seen(9)], [OPENED, CLOSED, seen(2)], [seen(2)]])
def test_nobody_is_invited_who_is_in_no_open_cohort(events: list[Told]) -> None:
    before = [event for event in events if event is OPENED]
    assert invited(fold(step, GROUND, START, events)) == [*window().cohort] * len(before)


def test_no_window_is_asked_for_while_one_is_open() -> None:
    assert openings(*present(6), OPENED, tick(), tick(1000)) == []


def test_the_next_window_is_asked_for_when_one_has_ended() -> None:
    assert [opening.after for opening in openings(*present(6), OPENED, CLOSED, tick())] == [1]


def test_waiting_begins_again_with_every_window() -> None:
    events: list[Event] = [*present(2), tick(), OPENED, CLOSED]
    assert openings(*events, tick(60)) == []
    assert len(openings(*events, tick(60), tick(120))) == 1


def test_the_end_of_an_unknown_window_corrects_what_was_asked_for() -> None:
    """The ledger answers so when it was asked for a window that is not its next one."""
    asked = openings(*present(6), tick(), Told(Closed(window=7)), tick(1))
    assert [opening.after for opening in asked] == [0, 7]


@pytest.mark.parametrize("late", [OPENED, CLOSED, Told(window(2))])
def test_what_is_heard_of_older_windows_opens_and_ends_nothing(late: Told) -> None:
    events = [*present(6), Told(Closed(window=2)), Told(window(3))]
    state = fold(step, GROUND, START, events).state
    assert step(GROUND, state, late) == Moved(state)


def test_a_newer_window_takes_the_place_of_one_whose_end_was_not_heard() -> None:
    state = fold(step, GROUND, START, [OPENED, Told(window(2)), Told(Closed(window=1))]).state
    assert state.window == window(2)


def test_no_window_is_asked_for_once_the_federation_has_halted() -> None:
    halt = Told(Halt(after=1, reason="complete", why="15 windows"))
    assert openings(*present(6), OPENED, CLOSED, halt, tick(), tick(1000)) == []


def test_a_decline_changes_nothing() -> None:
    state = fold(step, GROUND, START, [*present(6), OPENED]).state
    decline = Told(Decline(federation="barn", device="device-1", window=1, reason="battery"))
    assert step(GROUND, state, decline) == Moved(state)


def test_a_state_that_was_stored_goes_on_as_it_was() -> None:
    state = fold(step, GROUND, START, [*present(6), tick(), OPENED, CLOSED, tick(1)]).state
    assert recalled(remembered(state), START) == state


def test_a_policy_that_is_not_here_stops_the_service_before_it_invites() -> None:
    with pytest.raises(Misconfigured, match="no plug-in 'nothing'"):
        begin(ground(plan(select='policy = "nothing"')))


# Buffered -------------------------------------------------------------------------------------------------------------

BUFFERED = ground(plan(window='mode = "buffered"'))


def buffered(*events: Event) -> Moved[State]:
    return fold(step, BUFFERED, begin(BUFFERED), events)


def next_cohort(*events: Event) -> tuple[str, ...]:
    """Whom the last opening asks for that these events lead to."""
    found = [said for said in buffered(*events).booked if isinstance(said, Opening)]
    return found[-1].cohort


def awaited(*devices: int, number: int = 1) -> Told:
    return Told(Closed(window=number, version=number, awaited=tuple(f"device-{device}" for device in devices)))


def declined(device: int) -> Told:
    return Told(Decline(federation="barn", device=f"device-{device}", window=1, reason="battery"))


def test_the_first_cohort_takes_all_places() -> None:
    assert next_cohort(*present(6), tick()) == window().cohort


def test_who_is_at_work_when_a_window_ends_keeps_its_place() -> None:
    cohort = next_cohort(*present(12), OPENED, awaited(1, 2), tick())
    assert len(cohort) == 4
    assert not {"device-1", "device-2"} & set(cohort)


@pytest.mark.parametrize("out", [declined(2), seen(2, online=False)])
def test_the_place_of_who_declined_or_went_away_is_free(out: Told) -> None:
    """The ledger does not know of it, so it still counts them among those who are awaited."""
    cohort = next_cohort(*present(12), OPENED, out, awaited(1, 2), tick())
    assert (len(cohort), "device-1" in cohort) == (5, False)


def test_who_went_away_and_came_back_may_be_invited_to_the_next_window() -> None:
    cohort = next_cohort(*present(6), OPENED, seen(2, online=False), seen(2), awaited(1, 2), tick())
    assert cohort == tuple(f"device-{device}" for device in range(2, 7))


def test_a_device_that_declined_is_at_work_again_once_it_is_invited_again() -> None:
    again = Told(window(2))
    events = [*present(12), OPENED, declined(2), awaited(2), again, awaited(2, number=2)]
    assert buffered(*events).state.at_work == {"device-2"}


def test_a_window_opens_without_a_cohort_where_all_places_are_taken() -> None:
    assert next_cohort(*present(12), OPENED, awaited(*range(1, 7)), tick()) == ()


def test_more_at_work_than_there_are_places_ask_for_nobody() -> None:
    assert next_cohort(*present(12), OPENED, awaited(*range(1, 9)), tick()) == ()


def test_those_at_work_count_as_there_when_a_window_is_asked_for() -> None:
    """Six are a full house: four of them are at work, two are idle."""
    assert next_cohort(*present(6), OPENED, awaited(1, 2, 3, 4), tick()) == ("device-5", "device-6")
    asked = buffered(*present(5), OPENED, awaited(1, 2, 3, 4), tick()).booked
    assert asked == ()


def test_those_at_work_count_also_before_a_selector_that_has_forgotten_everything_hears_of_them() -> None:
    assert next_cohort(seen(5), seen(6), awaited(1, 2, 3, 4), tick()) == ("device-5", "device-6")


def test_whose_updates_were_refused_after_the_end_are_free_once_the_ledger_says_so_and_asked_for_at_once() -> None:
    """A restored ledger refuses what its devices were at work on: nobody would take their places otherwise."""
    asked: list[Event] = [*present(6), OPENED, awaited(1, 2, 3, 4, 5), tick()]
    assert next_cohort(*asked) == ("device-6",)
    assert len(next_cohort(*asked, awaited(), tick(0.1))) == 6
    assert len(buffered(*asked, awaited(1, 2, 3, 4, 5), tick(0.1)).booked) == 1


def test_an_older_end_heard_again_frees_nobody() -> None:
    state = buffered(*present(12), OPENED, awaited(1), Told(window(2)), awaited(3, number=2), awaited(1)).state
    assert state.at_work == {"device-3"}
