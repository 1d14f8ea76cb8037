"""A ledger that is older than the world releases nothing until a person says so, and then nothing that was before."""

from pathlib import Path

import pytest
from msgspec import structs

from mizzle.errors import Fenced, Superseded
from mizzle.messages import Abandoned, Abandonment, Charge, Closed, Message, Release, Resumption, Sighting, Window
from services.ledger import audit, restorations
from services.ledger.backups import back_up
from services.ledger.engine import reading, writing
from services.ledger.restorations import NOTHING_SEEN, RESTORED, RESUMED, Restoration, Seen, most_loss
from services.ledger.tables import AUDIT, BUDGETS, CHARGES, RELEASES, SURCHARGES, UPDATES, WINDOWS
from services.privacy_accountant.charge import stale_weight, terms_of
from tests.services.federations import DEVICES, Federation, federation, opening
from tests.services.plans import plan

DEAREST = most_loss(plan())


@pytest.fixture
def ours(tmp_path: Path) -> Federation:
    return federation(tmp_path)


def mark(ours: Federation, seen: Seen = NOTHING_SEEN) -> None:
    """As `restore` does."""
    act = audit.Act("pumps", 1, "operator", RESTORED, "pumps", {"why": "a test"})
    with writing(ours.ledger.engine) as tx:
        restorations.mark(tx, "pumps", act, seen)
    ours.begin_again()


def resume(ours: Federation, version: int, window: int) -> int:
    with writing(ours.ledger.engine) as tx:
        return restorations.resume(tx, "pumps", Seen(version, window), "I looked", 2)


def marked(ours: Federation) -> Restoration | None:
    with reading(ours.ledger.engine) as tx:
        return restorations.newest(tx, "pumps")


def spent(ours: Federation) -> dict[str, tuple[int, int]]:
    return {row["device"]: (row["settled"], row["reserved"]) for row in ours.rows(BUDGETS)}


def test_what_was_open_ends_as_if_its_noise_had_been_drawn(ours: Federation) -> None:
    window, verdicts = ours.filled()
    mark(ours)
    said = ours.book(opening(1, DEVICES))
    assert said[0] == Closed(window=1, version=None)
    assert ours.outcomes(said) == {verdict.id: Abandoned(window=window.number) for verdict in verdicts}
    assert spent(ours)["pump-1"] == (2**30, 0)
    assert {row["state"] for row in ours.rows(CHARGES)} == {"settled"}
    assert ours.rows(AUDIT)[-1]["action"] == "window.abandoned"


def test_who_waited_is_refused_since_a_lost_release_may_hold_it(ours: Federation) -> None:
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts[:2])
    ours.book(candidate, attached=attached)
    mark(ours)
    assert ours.reasons(ours.book(opening(1, DEVICES))) == ["restored"]
    assert spent(ours)["pump-3"] == (2**30, 0)


def test_while_it_is_marked_no_window_opens_and_no_candidate_is_released(ours: Federation) -> None:
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts)
    mark(ours)
    said = ours.book(candidate, attached=attached)
    assert [one for one in said if isinstance(one, Release)] == []
    assert ours.book(opening(1, DEVICES)) == []
    assert (ours.rows(RELEASES), [row["state"] for row in ours.rows(WINDOWS)]) == ([], ["abandoned"])


def test_a_restored_ledger_releases_again_once_a_person_says_so(ours: Federation) -> None:
    ours.run()
    mark(ours)
    ours.book(opening(1, DEVICES))
    assert resume(ours, version=1, window=1) == 0
    assert ours.run(after=1).base.version == 1
    assert [row["version"] for row in ours.rows(RELEASES)] == [1, 2]
    assert spent(ours)["pump-1"] == (2**31, 0)


def test_no_number_that_the_world_has_seen_is_given_again(ours: Federation) -> None:
    ours.run()
    mark(ours)
    resume(ours, version=3, window=7)
    assert ours.book(opening(1, DEVICES)) == [Closed(window=7, version=None)]
    said = ours.book(opening(7, DEVICES[:3]))
    window = next(one for one in said if isinstance(one, Window))
    (latest,) = ours.ledger.releases(1)
    assert said[0] == Resumption(version=4, release=latest)
    assert (window.number, window.base.version, window.base.digest) == (8, 4, latest.model.digest)
    assert ours.ledger.facts()[:3] == [latest, Resumption(version=4, release=latest), window]
    verdicts = [ours.verdict(device, window) for device in window.cohort]
    ours.charge(*verdicts)
    candidate, attached = ours.candidate(window, verdicts)
    ours.book(candidate, attached=attached)
    assert [row["version"] for row in ours.rows(RELEASES)] == [1, 5]
    assert ours.run(after=8).base.version == 5


def test_a_ledger_that_never_released_goes_on_from_the_plans_model(ours: Federation) -> None:
    mark(ours)
    resume(ours, version=2, window=2)
    said = ours.book(opening(2, DEVICES[:3]))
    assert said[0] == Resumption(version=3)
    window = next(one for one in said if isinstance(one, Window))
    assert (window.base.version, window.base.digest) == (3, ours.plan.model.digest)


def test_what_was_lost_is_charged_to_every_device_at_the_dearest(ours: Federation) -> None:
    ours.run()
    mark(ours)
    assert resume(ours, version=3, window=3) == 2 * DEAREST
    assert spent(ours) == {device: (2**30 * (device != "pump-4") + 2 * DEAREST, 0) for device in DEVICES}
    assert {(row["device"], row["loss"]) for row in ours.rows(SURCHARGES)} == {(one, 2 * DEAREST) for one in DEVICES}


def test_the_first_window_after_it_knows_the_most_that_any_device_may_have_lost(ours: Federation) -> None:
    """I20: pump-1 lost most and sends nothing any more; the next release shows its loss all the same."""
    ours.run()
    mark(ours)
    resume(ours, version=3, window=3)
    assert ours.open(("pump-3", "pump-4"), after=3).spent == sum(spent(ours)["pump-1"]) == 2**30 + 2 * DEAREST
    assert next(fact for fact in ours.ledger.facts() if isinstance(fact, Window)).spent == 2**30 + 2 * DEAREST


def test_the_dearest_is_an_update_of_every_window_that_a_release_can_hold() -> None:
    wanted = plan(staleness=3)
    heaviest = 64 + sum(stale_weight(age) for age in (1, 2, 3))
    assert most_loss(wanted) == terms_of(wanted).loss(0, heaviest)
    assert most_loss(plan(late="refuse", staleness=3)) == terms_of(wanted).loss(0, 64)


@pytest.mark.parametrize("known", [0, 1])
def test_buffered_no_device_is_charged_less_than_two_equally_fresh_updates_cost_it(tmp_path: Path, known: int) -> None:
    """What comes for a window that was given up is as fresh in the next one, whichever of them the backup knows."""
    buffered = plan(mode="buffered", staleness=0)
    lost, older = (federation(tmp_path / name, buffered) for name in ("lost", "older"))
    first = lost.open()
    lost.give_up(first)
    second = lost.open(after=1)
    verdicts = [lost.verdict("pump-1", first), lost.verdict("pump-1", second), lost.verdict("pump-2", second)]
    lost.charge(*verdicts)
    candidate, attached = lost.candidate(second, verdicts)
    lost.book(candidate, attached=attached)
    if known:
        older.give_up(older.open())
    mark(older)
    assert resume(older, version=1, window=2) >= spent(lost)["pump-1"][0] > most_loss(buffered)


def test_buffered_whoever_asks_with_too_few_is_told_that_nobody_is_at_work_any_more(tmp_path: Path) -> None:
    """Its devices were at work when it was restored, and what they send is refused; a selector waited for them."""
    ours = federation(tmp_path, plan(mode="buffered"))
    window = ours.open()
    mark(ours)
    closed = Closed(window=1, version=None, awaited=DEVICES[:3])
    assert ours.book(opening(1, DEVICES))[0] == closed
    assert ours.reasons(ours.book(*(ours.verdict(device, window) for device in window.cohort))) == ["restored"] * 3
    resume(ours, version=0, window=1)
    assert ours.book(opening(1, DEVICES[3:])) == [Closed(window=1, version=None)]
    assert ours.open(DEVICES, after=1).number == 2


def test_buffered_no_more_is_charged_than_full_windows_cost_however_many_were_given_up(tmp_path: Path) -> None:
    buffered = plan(mode="buffered", staleness=0)
    ours = federation(tmp_path, buffered)
    mark(ours)
    assert resume(ours, version=2, window=100) == 2 * terms_of(buffered).loss(0, 3 * 64)


@pytest.mark.parametrize(
    ("version", "window", "said"),
    [(1, 9, "release 2"), (2, 1, "window 4"), (9, 4, "cannot come of the windows")],
)
def test_nobody_says_less_than_is_known_or_what_cannot_be(
    ours: Federation, version: int, window: int, said: str
) -> None:
    ours.run()
    mark(ours, Seen(2, 4))
    with pytest.raises(Exception, match=said):
        resume(ours, version, window)
    assert marked(ours) == Restoration(1, 1, "a test", 2, 4, None, None, None)


def test_a_ledger_that_goes_on_is_not_resumed(ours: Federation) -> None:
    with pytest.raises(Exception, match="nothing is to be resumed"):
        resume(ours, 0, 0)
    mark(ours)
    resume(ours, 0, 0)
    with pytest.raises(Exception, match="nothing is to be resumed"):
        resume(ours, 0, 0)


def test_an_update_of_a_time_that_the_ledger_does_not_know_is_refused_and_one_that_it_knows_is_told_its_end(
    ours: Federation,
) -> None:
    window, verdicts = ours.filled(DEVICES)
    lost = verdicts.pop()
    unknown = ours.verdict("pump-1", window, nonce=7)
    candidate, attached = ours.candidate(window, verdicts)
    ours.book(candidate, attached=attached)
    ours.book(opening(1, DEVICES[:3]))
    mark(ours)
    ours.book(opening(1, DEVICES))
    assert ours.reasons(ours.book(unknown)) == ["restored"]
    resume(ours, 1, 5)
    assert ours.reasons(ours.book(ours.verdict("pump-2", window, nonce=8))) == ["restored"]
    assert len(ours.outcomes(ours.book(*verdicts))) == 3
    assert lost.id in {row["id"] for row in ours.rows(UPDATES)}
    fresh = ours.open(after=5)
    assert isinstance(ours.book(ours.verdict("pump-2", fresh))[0], Charge)


def test_the_person_and_the_reason_are_in_the_audit_chain(ours: Federation) -> None:
    mark(ours)
    resume(ours, 1, 1)
    row = ours.rows(AUDIT)[-1]
    assert (row["actor"], row["action"], "I looked" in row["body"]) == ("operator", RESUMED, True)
    with reading(ours.ledger.engine) as tx:
        audit.verify(tx)


def test_the_last_window_of_the_plan_is_the_last_although_the_ledger_has_not_seen_it(tmp_path: Path) -> None:
    ours = federation(tmp_path, plan(windows=2))
    ours.run()
    mark(ours)
    resume(ours, 2, 2)
    assert [type(one).__name__ for one in ours.book(opening(2, DEVICES))] == ["Halt"]


def test_a_release_that_the_gateway_saw_and_the_ledger_does_not_know_marks_it(ours: Federation) -> None:
    ours.run()
    window, verdicts = ours.filled(after=1)
    candidate, _ = ours.candidate(window, verdicts)
    (ours_newest,) = ours.ledger.releases(1)
    assert ours.book(Sighting(manifest=ours_newest.manifest)) == []
    assert marked(ours) is None
    said = ours.book(Sighting(manifest=candidate.release.manifest))
    assert said[0] == Closed(window=2, version=None)
    assert (found := marked(ours)) is not None
    assert (found.version, found.window, found.holds) == (2, 2, True)
    assert found.closed_at is not None


def of_a_lost_one(ours: Federation, what: str) -> Message:
    """What a service says of window 2 that an older ledger does not know, as it knew it from the lost one."""
    window = structs.replace(ours.open(), number=2)
    ours.give_up(structs.replace(window, number=1))
    candidate, _ = ours.candidate(window, [])
    abandonment = Abandonment(window=2, arrived=0, quorum=2)
    return {"opening": opening(2, DEVICES), "candidate": candidate, "abandonment": abandonment}[what]


@pytest.mark.parametrize("what", ["opening", "candidate", "abandonment"])
def test_a_window_that_a_service_speaks_of_and_the_ledger_does_not_know_marks_it(ours: Federation, what: str) -> None:
    """What services say of windows they have from a ledger: so it was a newer one."""
    unknown = of_a_lost_one(ours, what)
    assert ours.book(opening(1, ())) == []
    assert marked(ours) is None
    ours.book(unknown, unknown)
    assert (found := marked(ours)) is not None
    assert (found.number, found.version, found.window, found.holds) == (1, 0, 2, True)
    with pytest.raises(Fenced):
        ours.book(unknown)


def test_who_opened_a_ledger_before_it_was_marked_takes_no_place_under_its_old_name(ours: Federation) -> None:
    """What Redis has under that name may be of the lost one: a selector waited for a window of it without end."""
    before = ours.ledger
    assert not before.is_another()
    mark(ours)
    assert ours.ledger.name != before.name
    assert before.is_another()
    assert not ours.ledger.is_another()
    with pytest.raises(Superseded, match=r"marked as restored since selector opened it.*start again"):
        before.issue_epoch("selector")


def test_a_ledger_whose_file_was_replaced_is_another_and_one_that_is_away_is_not(ours: Federation) -> None:
    file = ours.folder / "ledger.db"
    back_up(f"sqlite:///{file}", ours.folder / "copy.db")
    aside = file.rename(ours.folder / "aside.db")
    assert not ours.ledger.is_another()
    (ours.folder / "copy.db").rename(file)
    assert ours.ledger.is_another()
    aside.replace(file)
    assert not ours.ledger.is_another()


def test_a_release_that_nobody_of_us_signed_marks_nothing(ours: Federation) -> None:
    window, verdicts = ours.filled()
    candidate, _ = ours.candidate(window, verdicts)
    foreign = ours.release(candidate.aggregate, role="receipt")
    assert ours.book(Sighting(manifest=foreign.manifest), Sighting(manifest=b"{}")) == []
    assert marked(ours) is None
