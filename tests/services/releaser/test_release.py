"""Every aggregate gets one manifest that its readers can verify and that names the one before it."""

import hashlib

import pytest

from mizzle import accounting, manifest
from mizzle.envelope import Key
from mizzle.errors import Forged
from mizzle.manifest import Manifest
from mizzle.messages import Aggregate, BlobRef, Candidate, Member, Release, Resumption
from mizzle.moves import Event, Moved, Told
from services.releaser.release import State, begin, step
from services.runtime.states import recalled, remembered
from tests.makers import KEY, NOW, base, digest, fold, ground, plan, tick

GROUND = ground()
START = begin(GROUND)
SPENT = 1 << 36


def aggregate(number: int = 1, version: int = 0, spent: int = SPENT, word: str = "model") -> Aggregate:
    """What was combined in window `number` from the release `version`."""
    return Aggregate(
        window=number,
        base=base(version),
        members=tuple(Member(id=digest(device), weight=64) for device in ("pump-0", "pump-1")),
        arrived=3,
        spent=spent,
        sigma=5,
        noise_key=b"",
        total=BlobRef(digest=digest("total"), size=480),
        model=BlobRef(digest=digest(f"{word} of {number}"), size=432),
        optimizer=BlobRef(digest=digest("optimizer"), size=9),
    )


def candidates(*events: Event, state: State = START) -> list[Candidate]:
    return [said for said in fold(step, GROUND, state, events).booked if isinstance(said, Candidate)]


def released(number: int = 1, version: int = 0, spent: int = SPENT, state: State = START) -> Release:
    """The release that the ledger made of a window, as the releaser hears of it."""
    (candidate,) = candidates(Told(aggregate(number, version, spent)), tick(1), state=state)
    return candidate.release


def after(*releases: Release) -> Moved[State]:
    return fold(step, GROUND, START, map(Told, releases))


def read(release: Release, now: int = NOW) -> Manifest:
    return manifest.verify(release.manifest, [KEY.public_key], "barn", now)


def test_after_a_restoration_the_next_release_follows_the_newest_one_that_the_ledger_knows() -> None:
    """Under a version that nobody has seen, and whatever the releaser remembers of releases that were lost."""
    known = released()
    lost = released(2, 1, state=after(known).state)
    state = after(known, lost).state
    state = fold(step, GROUND, state, [Told(Resumption(version=8, release=known))]).state
    assert state == fold(step, GROUND, state, [Told(Resumption(version=8, release=known))]).state
    (candidate,) = candidates(Told(aggregate(9, 8)), tick(1), state=state)
    assert (candidate.release.version, read(candidate.release).previous) == (9, known.manifest_digest.hex())


def test_a_resumption_that_is_told_again_after_its_release_changes_nothing() -> None:
    state = fold(step, GROUND, START, [Told(Resumption(version=3))]).state
    state = fold(step, GROUND, state, [Told(released(4, 3, state=state))]).state
    assert fold(step, GROUND, state, [Told(Resumption(version=3))]).state == state


def test_a_candidate_s_manifest_says_what_was_combined() -> None:
    (candidate,) = candidates(Told(aggregate()), tick(1))
    epsilon = accounting.epsilon(SPENT, 1e-5)
    assert candidate.aggregate == aggregate()
    assert read(candidate.release) == Manifest(
        schema=1,
        federation="barn",
        version=1,
        window=1,
        members=2,
        model=manifest.ModelFile(digest=digest("model of 1").hex(), size=432, format="safetensors"),
        plan=plan().digest.hex(),
        previous=None,
        issued=manifest.moment(NOW + 1000),
        expires=manifest.moment(NOW + 1000 + 168 * 3_600_000),
        privacy=manifest.Privacy(epsilon=epsilon, delta=1e-5, sentence=accounting.sentence(epsilon, 1e-5)),
    )


def test_a_candidate_names_its_manifest_its_model_and_its_optimizer() -> None:
    release = released()
    assert release == Release(
        version=1,
        window=1,
        manifest=release.manifest,
        manifest_digest=hashlib.sha256(release.manifest).digest(),
        model=aggregate().model,
        optimizer=aggregate().optimizer,
    )


def test_an_aggregate_waits_for_the_tick_that_dates_it() -> None:
    moved = step(GROUND, START, Told(aggregate()))
    assert (moved.said, moved.booked) == ((), ())
    assert candidates(tick(2), state=moved.state)[0].release.manifest_digest != released().manifest_digest


def test_a_candidate_is_booked_once_and_again_if_its_aggregate_comes_again() -> None:
    moved = fold(step, GROUND, START, [Told(aggregate()), Told(aggregate()), tick(1), tick(2)])
    assert (len(moved.booked), moved.state) == (1, START)
    assert candidates(Told(aggregate()), tick(1), state=moved.state) == list(moved.booked)


def test_a_window_that_was_sealed_again_has_one_candidate() -> None:
    (candidate,) = candidates(Told(aggregate(word="rejected")), Told(aggregate()), tick(1))
    assert candidate.aggregate == aggregate()


def test_a_manifest_names_the_one_before_it() -> None:
    first = released()
    second = released(2, version=1, state=after(first).state)
    manifest.links(read(second), first.manifest)
    manifest.follows(read(second), 1)


def test_a_release_is_never_issued_before_the_one_that_it_follows() -> None:
    """The clock is set back by a day between the two; its expiry is not a day sooner for it."""
    first = released()
    (second,) = candidates(Told(aggregate(2, version=1)), tick(-86_400), state=after(first).state)
    assert (read(second.release).issued, read(second.release).expires) == (read(first).issued, read(first).expires)


def test_an_aggregate_waits_for_the_release_it_was_made_from() -> None:
    waiting = fold(step, GROUND, START, [Told(aggregate(2, version=1)), tick(1)])
    assert waiting.booked == ()
    (candidate,) = candidates(Told(released()), tick(1), state=waiting.state)
    manifest.links(read(candidate.release), released().manifest)


@pytest.mark.parametrize("told", [[1, 2], [1, 2, 1], [1, 2, 2, 1]])
def test_a_release_heard_again_changes_nothing(told: list[int]) -> None:
    releases = {1: released(), 2: released(2, version=1, state=after(released()).state)}
    assert after(*(releases[version] for version in told)) == Moved(after(releases[2]).state)


def test_an_aggregate_whose_place_is_taken_waits_no_longer() -> None:
    overtaken = fold(step, GROUND, START, [Told(aggregate()), Told(released()), tick(1)])
    again = fold(step, GROUND, after(released()).state, [Told(aggregate()), tick(1)])
    assert overtaken == again == after(released())


def test_a_loss_that_was_once_shown_never_shrinks() -> None:
    """An aggregator that has begun again knows fewer charges than were made."""
    state = after(released(spent=SPENT)).state
    assert read(released(2, version=1, spent=1, state=state)).privacy == read(released(spent=SPENT)).privacy


def test_a_release_that_we_have_not_signed_is_not_built_on() -> None:
    other = ground(key=Key(bytes(32)))
    (candidate,) = fold(step, other, START, [Told(aggregate()), tick(1)]).booked
    assert isinstance(candidate, Candidate)
    with pytest.raises(Forged, match="trusted here is"):
        step(GROUND, START, Told(candidate.release))


def test_a_state_that_was_stored_goes_on_as_it_was() -> None:
    state = fold(step, GROUND, after(released()).state, [Told(aggregate(2, 1)), Told(aggregate(4, 3))]).state
    assert recalled(remembered(state), START) == state
