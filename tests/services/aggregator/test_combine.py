"""A window's sum holds every member once, exactly, in whatever order and however often its charge comes."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from safetensors.numpy import load

from mizzle.errors import Away, Misconfigured
from mizzle.grid import GAIN, Integers, Sparse, Vector, rotate_back, signs
from mizzle.messages import Abandonment, Aggregate, BlobRef, Closed, Member, Rejection
from mizzle.model import filled, flat
from mizzle.moves import Event, Ground, Moved, Told
from mizzle.plan import Plan, from_toml
from mizzle.terms import codec_of, grid_of, mechanism_of
from services.aggregator.combine import WITHOUT_END, State, begin, step
from services.runtime.states import recalled, remembered
from tests.makers import (
    MODEL,
    PLAN,
    base,
    charge,
    digest,
    fold,
    ground,
    hot_value,
    one_hot,
    payload,
    plan,
    tick,
    window,
)

DEVICES = ("pump-0", "pump-1", "pump-2", "pump-3")
OPENED = Told(window())
FULL = 64
NAMED = (1, 1, 0)
"""The windows that three updates name; the last is folded into window 1."""

SPARSE = from_toml(PLAN.replace('"hadamard"\nbits = 8', '"topk"\nshare = 0.2'), MODEL)
"""Twelve of sixty parameters, never rotated: the places are the same whatever seed came with the invitation."""


def place(device: str) -> int:
    """The parameter that a device's one-hot update changes."""
    return int(device.rpartition("-")[2])


def charged(device: str, number: int = 1, *, body: bytes | None = None, **changes: object) -> Told:
    """A charge with its payload, coded for window `number`: one-hot in the device's own coordinate."""
    return Told(charge(device, number, **changes), {digest(device): body or payload(one_hot(place(device)), number)})


def late(device: str, weight: int = 45) -> Told:
    """An update that names window 0 and was folded into window 1."""
    return charged(device, 0, window=1, staleness=1, weight=weight)


def rejected(*devices: str, number: int = 1) -> Told:
    ids = tuple(digest(device) for device in devices)
    payloads = {digest(device): payload(one_hot(place(device))) for device in devices}
    return Told(Rejection(window=number, members=ids), payloads)


def gathered(*events: Event, on: Ground | None = None) -> Moved[State]:
    """Where events lead from the opening of window 1 on."""
    land = on or ground()
    return fold(step, land, begin(land), [OPENED, *events])


def sealed(*events: Event, entropy: str = "entropy", on: Ground | None = None) -> Moved[State]:
    """The window after the events and its deadline."""
    return gathered(*events, tick(60, entropy), on=on)


def aggregate(moved: Moved[State]) -> Aggregate:
    (said,) = moved.said
    assert isinstance(said, Aggregate)
    return said


def opened_sum(moved: Moved[State], entropy: str = "entropy", of: Plan | None = None) -> Integers:
    """The newest noised sum of a move without its noise, which is derived again from the tick's bytes."""
    of = of or plan()
    noised = np.frombuffer(moved.kept[-2], "<i8")
    noise = mechanism_of(of).noise(digest(entropy), GAIN * aggregate(moved).sigma, grid_of(of).size)
    return noised - noise


def rotated_back(body: bytes, number: int) -> Integers:
    """What one payload that was coded for window `number` adds with weight 1."""
    grid, levels = grid_of(plan()), codec_of(plan()).decode(body, grid_of(plan()))
    return rotate_back(grid, levels.multiplier * levels.levels.astype(np.int64), window(number).seed)


def sparsely(device: str, named: int, weight: int) -> Told:
    """A charge of window 1 with a sparse payload, which was coded for the window that it names."""
    return charged(device, named, window=1, weight=weight, body=sparse_payload(device, named))


def sparse_payload(device: str, named: int) -> bytes:
    change = np.random.default_rng(place(device)).normal(size=60) / 30
    return payload(change, named, SPARSE)


def by_hand(device: str, weight: int) -> Integers:
    """What a sparse update adds, one place after the other."""
    update = codec_of(SPARSE).decode(sparse_payload(device, 1), grid_of(SPARSE))
    assert isinstance(update, Sparse)
    total = np.zeros(60, np.int64)
    for at, level in zip(update.places.tolist(), update.levels.tolist(), strict=True):
        total[at] += GAIN * weight * update.multiplier * level
    return total


def sparse_sum(*told: Event) -> Integers:
    """The integers of a sealed window of sparse updates."""
    return opened_sum(sealed(*told, on=ground(SPARSE)), of=SPARSE)


def weights(expected: dict[str, int]) -> list[int]:
    """The sum in which each of these devices has its weight in its own coordinate, and nobody else is."""
    total = np.zeros(grid_of(plan()).size, np.int64)
    for device, weight in expected.items():
        total[place(device)] += GAIN * weight * hot_value()
    return list(total.tolist())


def test_every_member_is_in_the_sum_once() -> None:
    moved = sealed(*map(charged, DEVICES))
    assert opened_sum(moved).tolist() == weights(dict.fromkeys(DEVICES, FULL))


def test_an_aggregator_that_begins_again_knows_what_a_device_has_spent_that_sends_nothing() -> None:
    opened = Told(structs.replace(window(), spent=11))
    charges = (charged("pump-1", spent=7), charged("pump-0", spent=9), charged("pump-2", spent=9), tick(60))
    assert aggregate(fold(step, ground(), begin(ground()), [opened, *charges])).spent == 11


def test_an_aggregate_says_who_is_in_it_and_where_its_sum_and_its_model_lie() -> None:
    moved = sealed(charged("pump-1", spent=7), charged("pump-0", spent=9))
    total, model = moved.kept
    assert aggregate(moved) == Aggregate(
        window=1,
        base=base(),
        members=tuple(Member(id=update, weight=FULL) for update in sorted(map(digest, ("pump-0", "pump-1")))),
        arrived=2,
        spent=9,
        sigma=mechanism_of(plan()).sigma(FULL, window().bound),
        noise_key=b"sealed " + digest("entropy"),
        total=_reference(total),
        model=_reference(model),
    )


def test_the_next_model_is_the_base_and_the_noised_sum_over_the_goal() -> None:
    total, model = sealed(*map(charged, DEVICES)).kept
    mean = np.frombuffer(total, "<i8") * grid_of(plan()).unit / (GAIN * FULL * plan().window.goal)
    assert model == filled(MODEL, flat(MODEL) + mean)


def test_fewer_members_than_the_goal_are_still_divided_by_the_goal() -> None:
    land = ground(plan(privacy="noise_multiplier = 1e-9"))
    _, model = sealed(charged("pump-0"), charged("pump-1"), on=land).kept
    moved_by = flat(model) - flat(MODEL)
    assert moved_by[:2] == pytest.approx(one_hot(0)[0] / 4, rel=1e-4)


@settings(max_examples=25)
@given(st.permutations([*DEVICES, "late pump-4", "late pump-5"]))
def test_the_order_of_charges_changes_no_bit(order: list[str]) -> None:
    land = ground(plan(window="goal = 9\ninvite = 1.0"))
    opened = Told(window(of=land.plan))
    told = [late(name.removeprefix("late ")) if name.startswith("late ") else charged(name) for name in order]
    moved = fold(step, land, begin(land), [opened, *told, tick(60)])
    expected = {**dict.fromkeys(DEVICES, FULL), "pump-4": 45, "pump-5": 45}
    assert opened_sum(moved, of=land.plan).tolist() == weights(expected)
    assert hashlib.sha256(moved.kept[0]).digest() == aggregate(moved).total.digest
    assert [member.id for member in aggregate(moved).members] == sorted(map(digest, expected))


def test_an_update_of_another_window_s_seed_adds_exactly() -> None:
    """The late device's coordinate has another sign in the window it named."""
    flipped = int(np.flatnonzero(signs(window(0).seed, 64) != signs(window(1).seed, 64))[0])
    moved = sealed(charged("pump-40"), charged("pump-41"), late(f"pump-{flipped}", weight=37))
    assert opened_sum(moved).tolist() == weights({"pump-40": FULL, "pump-41": FULL, f"pump-{flipped}": 37})


def test_any_updates_add_exactly_whatever_the_seeds_they_were_coded_with() -> None:
    """Updates that round and spread over every level; each is turned back here by itself."""
    changes = np.random.default_rng(7).normal(size=(3, 60)) / 40
    bodies = [payload(change, number) for change, number in zip(changes, NAMED, strict=True)]
    told = [
        charged(device, number, window=1, weight=weight, body=body)
        for device, number, weight, body in zip(DEVICES, NAMED, (64, 64, 45), bodies, strict=False)
    ]
    expected = [
        weight * rotated_back(body, number) for number, weight, body in zip(NAMED, (64, 64, 45), bodies, strict=True)
    ]
    assert opened_sum(sealed(*told)).tolist() == np.sum(expected, axis=0).tolist()


@settings(max_examples=25)
@given(st.permutations(range(6)), st.lists(st.booleans(), min_size=6, max_size=6))
def test_sparse_updates_add_exactly_in_any_order_whichever_of_them_were_late(
    order: list[int], lates: list[bool]
) -> None:
    """The same six updates with the same weights; the first two are in time, for the quorum."""
    named = [1, 1, *(0 if is_late else 1 for is_late in lates[2:])]
    weight = (64, 64, 45, 37, 64, 1)
    told = [sparsely(f"pump-{number}", named[number], weight[number]) for number in order]
    expected = np.sum([by_hand(f"pump-{number}", weight[number]) for number in range(6)], axis=0)
    assert sparse_sum(*told).tolist() == expected.tolist()


def test_the_sums_of_two_parts_of_a_window_are_the_sum_of_the_whole() -> None:
    told = [sparsely(f"pump-{number}", 1, 64) for number in range(6)]
    assert (sparse_sum(*told[:2]) + sparse_sum(*told[2:])).tolist() == sparse_sum(*told).tolist()


@pytest.mark.parametrize("named", [0, 1])
def test_a_rejected_sparse_member_leaves_the_sum_as_if_it_had_never_been_in_it(named: int) -> None:
    told = [sparsely("pump-0", 1, 64), sparsely("pump-1", 1, 64)]
    moved = sealed(*told, sparsely("pump-2", named, 45), on=ground(SPARSE))
    leaving = digest("pump-2")
    rejection = Told(Rejection(window=1, members=(leaving,)), {leaving: sparse_payload("pump-2", named)})
    again = fold(step, ground(SPARSE), moved.state, [rejection, tick(61, "new key")])
    without = sealed(*told, entropy="new key", on=ground(SPARSE))
    assert (again.said, again.kept) == (without.said, without.kept)


def test_a_replayed_charge_is_counted_once() -> None:
    once = gathered(charged("pump-0"), late("pump-1")).state
    before = remembered(once)
    again = fold(step, ground(), once, [charged("pump-0"), late("pump-1"), OPENED])
    assert (remembered(again.state), again.said, again.booked) == (before, (), ())


@pytest.mark.parametrize("before", [(), (charged("pump-0"),), (late("pump-5"),), (charged("pump-0"), late("pump-5"))])
def test_a_sum_that_was_stored_goes_on_as_if_it_never_had_been(before: tuple[Told, ...]) -> None:
    """A restart in the middle of a window, whichever of the two sums had begun by then."""
    after: list[Event] = [*(charged(f"pump-{number}") for number in (1, 2)), late("pump-4"), tick(60)]
    stored = recalled(remembered(gathered(*before).state), begin(ground()))
    again = fold(step, ground(), stored, after)
    assert (again.said, again.kept) == (gathered(*before, *after).said, gathered(*before, *after).kept)


@pytest.mark.parametrize(
    ("told", "on", "sums"),
    [
        ((), ground(), (False, False)),
        ((charged("pump-0"),), ground(), (True, False)),
        ((late("pump-5"),), ground(), (False, True)),
        ((charged("pump-0"), late("pump-5")), ground(), (True, True)),
        ((sparsely("pump-0", 1, 64), sparsely("pump-1", 0, 45)), ground(SPARSE), (False, True)),
    ],
)
def test_a_window_holds_only_the_sums_that_its_updates_need(
    told: tuple[Told, ...], on: Ground, sums: tuple[bool, bool]
) -> None:
    """Each is as long as the model, and is stored again and again, behind a tick."""
    gathering = gathered(*told, tick(1), on=on).state.gathering
    assert gathering is not None
    assert (gathering.rotated is not None, gathering.plain is not None) == sums
    assert (gathering.near, gathering.reach) == (None, 0)


def test_a_charge_without_its_payload_waits_until_it_comes_again() -> None:
    bare = Told(charge("pump-0"))
    assert remembered(gathered(bare).state.gathering) == remembered(gathered().state.gathering)
    moved = sealed(bare, charged("pump-1"), charged("pump-0"))
    assert opened_sum(moved).tolist() == weights({"pump-0": FULL, "pump-1": FULL})


def test_a_charge_of_another_window_adds_nothing() -> None:
    moved = sealed(charged("pump-0"), charged("pump-1"), charged("pump-2", 2), charged("pump-3", 0))
    assert opened_sum(moved).tolist() == weights({"pump-0": FULL, "pump-1": FULL})


def test_a_charge_before_any_window_adds_nothing() -> None:
    moved = fold(step, ground(), begin(ground()), [charged("pump-0"), OPENED, tick(60)])
    assert moved.booked == (Abandonment(window=1, arrived=0, quorum=2),)


def test_the_most_that_was_spent_is_remembered_over_windows() -> None:
    moved = gathered(charged("pump-0", spent=9), charged("pump-1", spent=5), Told(Closed(window=1)))
    assert moved.state == State(ended=1, spent=9)


def test_a_window_seals_at_its_goal() -> None:
    told = list(map(charged, DEVICES))
    assert gathered(*told[:3], tick(1)).said == ()
    assert len(aggregate(gathered(*told, tick(1))).members) == 4


def test_a_window_seals_at_its_deadline_and_not_before() -> None:
    told = [charged("pump-0"), charged("pump-1")]
    assert gathered(*told, tick(59.999)).said == ()
    assert len(aggregate(gathered(*told, tick(60))).members) == 2


def test_a_window_whose_deadline_was_set_by_a_clock_that_is_a_day_behind_lasts_as_long_as_others() -> None:
    """Else each would end before anybody could take part, for as long as that clock is wrong."""
    day, lasts = 86_400, round(plan().window.deadline_s)
    moved = gathered(tick(day), *map(charged, DEVICES[:3]), tick(day + lasts - 1))
    assert (moved.said, moved.booked) == ((), ())
    assert step(ground(), moved.state, tick(day + lasts)).said


def test_a_clock_that_is_set_back_keeps_no_window_open_for_longer_than_windows_last() -> None:
    told = [charged("pump-0"), charged("pump-1")]
    assert gathered(*told, tick(1), tick(-86_400), tick(-86_400 + 59.999)).said == ()
    assert len(aggregate(gathered(*told, tick(1), tick(-86_400), tick(-86_400 + 60))).members) == 2


def test_the_goal_counts_envelopes_of_the_cohort_only() -> None:
    """What was folded in rides along; a refused content counts although it is in no sum."""
    late_ones = [late("pump-4"), late("pump-5")]
    assert gathered(*map(charged, DEVICES[:3]), *late_ones, tick(1)).said == ()
    moved = gathered(*map(charged, DEVICES[:3]), *late_ones, Told(charge("pump-3", weight=0)), tick(1))
    assert (aggregate(moved).arrived, len(aggregate(moved).members)) == (4, 5)


def test_the_quorum_counts_no_folded_updates() -> None:
    moved = sealed(charged("pump-0"), late("pump-1"), late("pump-2"))
    assert moved.booked == (Abandonment(window=1, arrived=1, quorum=2),)


def test_refused_contents_reach_a_goal_and_make_no_crowd() -> None:
    refused = [Told(charge(device, weight=0)) for device in DEVICES[1:]]
    moved = gathered(charged("pump-0"), *refused, tick(1))
    assert (moved.said, moved.booked) == ((), (Abandonment(window=1, arrived=4, quorum=2),))


def test_an_abandonment_is_booked_once_and_draws_no_noise() -> None:
    moved = sealed(charged("pump-0"))
    again = fold(step, ground(), moved.state, [charged("pump-1"), tick(61), tick(62)])
    assert (moved.booked, moved.kept) == ((Abandonment(window=1, arrived=1, quorum=2),), ())
    assert (again.said, again.booked, again.kept) == ((), (), ())


def test_an_aggregator_that_has_lost_its_memory_cannot_say_that_no_noise_was_drawn() -> None:
    """It may have sealed the window and lost it all: what is held for that is not given back."""
    third, given_up = Told(window(number=3)), Abandonment(window=3, arrived=0, quorum=2)
    lost = fold(step, ground(), begin(ground()), [third, tick(0), tick(60)])
    assert lost.booked == (structs.replace(given_up, noise_was_drawn=True),)
    known = fold(step, ground(), begin(ground()), [Told(Closed(window=2)), third, tick(0), tick(60)])
    assert known.booked == (given_up,)


def test_a_sealed_window_takes_no_more_and_is_said_once() -> None:
    moved = sealed(charged("pump-0"), charged("pump-1"))
    before = remembered(moved.state)
    again = fold(step, ground(), moved.state, [charged("pump-2"), OPENED, tick(61)])
    assert (remembered(again.state), again.said, again.booked, again.kept) == (before, (), (), ())


def test_a_rejected_member_is_subtracted_and_the_rest_sealed_again() -> None:
    moved = sealed(charged("pump-0"), charged("pump-1"), charged("pump-2"))
    again = fold(step, ground(), moved.state, [rejected("pump-1"), tick(61, "new key")])
    without = sealed(charged("pump-0"), charged("pump-2"), entropy="new key")
    assert (again.said, again.kept) == (without.said, without.kept)


def test_a_rejected_late_member_is_subtracted_as_it_was_added() -> None:
    moved = sealed(charged("pump-0"), charged("pump-1"), late("pump-2"))
    rejection = Told(
        Rejection(window=1, members=(digest("pump-2"),)), {digest("pump-2"): payload(one_hot(2), number=0)}
    )
    again = fold(step, ground(), moved.state, [rejection, tick(61, "new key")])
    assert opened_sum(again, "new key").tolist() == weights({"pump-0": FULL, "pump-1": FULL})


def test_a_rejected_member_never_comes_in_again() -> None:
    moved = sealed(charged("pump-0"), charged("pump-1"), charged("pump-2"))
    events: list[Event] = [rejected("pump-1"), charged("pump-1"), rejected("pump-1"), tick(61, "new key")]
    again = fold(step, ground(), moved.state, events)
    assert opened_sum(again, "new key").tolist() == weights({"pump-0": FULL, "pump-2": FULL})


@pytest.mark.parametrize("rejection", [rejected("pump-9"), rejected("pump-0", number=2)])
def test_the_rejection_of_strangers_changes_nothing(rejection: Told) -> None:
    moved = sealed(charged("pump-0"), charged("pump-1"))
    before = remembered(moved.state)
    again = fold(step, ground(), moved.state, [rejection, tick(61)])
    assert (remembered(again.state), again.said, again.booked) == (before, (), ())


def test_a_window_that_is_still_open_rejects_nobody() -> None:
    """What the ledger rejects belongs to an aggregate; there is none yet."""
    moved = sealed(charged("pump-0"), charged("pump-1"), rejected("pump-1"))
    assert opened_sum(moved).tolist() == weights({"pump-0": FULL, "pump-1": FULL})


def test_a_window_whose_sealing_killed_its_service_twice_is_given_up_and_charged() -> None:
    """For want of memory, as a rule: a third try would be a loop of crashes. Whether noise was drawn nobody knows."""
    full = gathered(*map(charged, DEVICES))
    assert step(ground(), full.state, replace(tick(60), tries=2)).said
    moved = step(ground(), gathered(*map(charged, DEVICES)).state, replace(tick(60), tries=3))
    (given_up,) = moved.booked
    assert isinstance(given_up, Abandonment)
    assert (given_up.noise_was_drawn, given_up.why) == (True, WITHOUT_END)
    assert moved.noted == (WITHOUT_END,)
    assert step(ground(), moved.state, replace(tick(61), tries=3)).booked == ()


def test_a_window_of_which_too_few_are_left_is_given_up() -> None:
    moved = sealed(charged("pump-0"), charged("pump-1"))
    again = fold(step, ground(), moved.state, [rejected("pump-1"), tick(61)])
    assert (again.said, again.booked) == ((), (Abandonment(window=1, arrived=1, quorum=2, noise_was_drawn=True),))


@pytest.mark.parametrize("left", [{}, {digest("pump-1"): payload(one_hot(1)), digest("pump-2"): b"torn"}])
def test_a_window_whose_rejected_members_cannot_be_subtracted_is_given_up(left: dict[bytes, bytes]) -> None:
    """All of them or none: what was subtracted before the one that is torn would be missing from the sum."""
    moved = sealed(*map(charged, DEVICES))
    again = fold(step, ground(), moved.state, [replace(rejected("pump-1", "pump-2"), attached=left), tick(61)])
    assert (again.said, again.booked) == ((), (Abandonment(window=1, arrived=4, quorum=2, noise_was_drawn=True),))


def test_a_closed_window_is_forgotten_and_never_opens_again() -> None:
    moved = gathered(charged("pump-0"), Told(Closed(window=1)), OPENED, charged("pump-1"), tick(60))
    assert (moved.state, moved.said, moved.booked) == (State(ended=1, spent=1), (), ())


def test_the_end_of_an_older_window_changes_nothing() -> None:
    moved = gathered(charged("pump-0"), Told(Closed(window=0, version=1)), charged("pump-1"), tick(60))
    assert len(aggregate(moved).members) == 2


def test_a_window_that_ended_long_ago_does_not_open_again() -> None:
    moved = fold(step, ground(), begin(ground()), [Told(Closed(window=2)), Told(Closed(window=1)), Told(window(2))])
    assert moved.state == State(ended=2)


def test_a_newer_window_takes_the_place_of_one_whose_end_was_not_heard() -> None:
    moved = gathered(charged("pump-0"), Told(window(2)), charged("pump-1", 2), charged("pump-2", 2), tick(60))
    assert (aggregate(moved).window, aggregate(moved).arrived) == (2, 2)


def test_a_window_starts_from_the_model_that_is_attached_to_it() -> None:
    other = filled(MODEL, flat(MODEL) + 1)
    start = base(1, other)
    told = Told(window(start=start), {start.digest: other})
    land = ground(plan(privacy="noise_multiplier = 1e-9"))
    moved = fold(step, land, begin(land), [told, charged("pump-0"), charged("pump-1"), tick(60)])
    assert flat(moved.kept[1])[2:] == pytest.approx(flat(other)[2:])


def test_a_window_whose_model_no_store_has_is_waited_for() -> None:
    with pytest.raises(Away, match="window 1 starts from model"):
        step(ground(), begin(ground()), Told(window(start=base(1, b"unheard of"))))


@pytest.mark.parametrize(
    "events",
    [
        [charged("pump-0"), late("pump-1"), Told(charge("pump-2", weight=0))],
        [charged("pump-0"), late("pump-1"), charged("pump-2"), tick(60), rejected("pump-2")],
    ],
)
def test_a_state_that_was_stored_goes_on_as_if_it_never_was(events: list[Event]) -> None:
    on: list[Event] = [charged("pump-5"), tick(61, "later")]
    stored = recalled(remembered(gathered(*events).state), begin(ground()))
    assert fold(step, ground(), stored, on).kept == fold(step, ground(), gathered(*events).state, on).kept


def test_what_the_strategy_remembers_comes_with_the_window_that_goes_on_from_it() -> None:
    """Also to an aggregator that has forgotten everything: nothing but the ledger remembers it."""
    land = ground(plan(combine='strategy = "momentum"\nbeta = 0.5'))
    first = sealed(charged("pump-0"), charged("pump-1"), on=land)
    made = aggregate(first)
    assert made.optimizer is not None
    assert made.optimizer == _reference(first.kept[2])
    start = base(1, first.kept[1])
    following = structs.replace(window(number=2, start=start), optimizer=made.optimizer)
    told = Told(following, {start.digest: first.kept[1], made.optimizer.digest: first.kept[2]})
    again = fold(step, land, begin(land), [told, charged("pump-2", 2), charged("pump-3", 2), tick(61)])
    mean = _mean(again.kept[0])
    assert load(first.kept[2])["velocity"] == pytest.approx(_mean(first.kept[0]))
    assert load(again.kept[2])["velocity"] == pytest.approx(0.5 * _mean(first.kept[0]) + mean)


def test_a_window_whose_strategy_has_lost_its_memory_is_waited_for() -> None:
    told = Told(structs.replace(window(), optimizer=BlobRef(digest=bytes(32), size=1)))
    with pytest.raises(Away, match="window 1 goes on from 0000"):
        step(ground(), begin(ground()), told)


def _mean(total: bytes) -> Vector:
    return np.frombuffer(total, "<i8") * grid_of(plan()).unit / (GAIN * FULL * plan().window.goal)


def _reference(blob: bytes) -> BlobRef:
    return BlobRef(digest=hashlib.sha256(blob).digest(), size=len(blob))


def test_a_strategy_that_is_not_here_stops_the_service_before_it_combines() -> None:
    with pytest.raises(Misconfigured, match="no plug-in 'nothing'"):
        begin(ground(plan(combine='strategy = "nothing"')))
