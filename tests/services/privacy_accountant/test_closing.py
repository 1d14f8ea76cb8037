"""The end of a window: released with all its members or none, or abandoned with everything that was open in it."""

from pathlib import Path

import msgspec
import pytest

from mizzle.messages import (
    Abandoned,
    Abandonment,
    Answer,
    Candidate,
    Charge,
    Closed,
    Counted,
    Halt,
    Message,
    Rejection,
    Release,
    Window,
)
from mizzle.transport.clock import now
from services.ledger import audit, updates
from services.ledger.engine import reading
from services.ledger.tables import AUDIT, BUDGETS, CHARGES, RELEASES, UPDATES, WINDOWS
from tests.services.federations import DEVICES, Federation, federation, opening
from tests.services.plans import plan


@pytest.fixture
def ours(tmp_path: Path) -> Federation:
    return federation(tmp_path)


def outcomes(ours: Federation) -> list[object]:
    return [row["outcome"] for row in ours.rows(UPDATES)]


def states(ours: Federation) -> list[object]:
    return [row["state"] for row in ours.rows(WINDOWS)]


def test_a_release_counts_every_member_and_says_so_to_each(ours: Federation) -> None:
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts)
    said = ours.book(candidate, attached=attached)
    assert said[:2] == [candidate.release, Closed(window=1, version=1)]
    assert ours.outcomes(said) == {verdict.id: Counted(release=1, window=1, weight=64) for verdict in verdicts}
    assert (outcomes(ours), states(ours)) == (["counted"] * 3, ["released"])


def test_a_release_settles_what_its_members_reserved(ours: Federation) -> None:
    ours.run()
    assert ours.row(BUDGETS, device="pump-1") == {"device": "pump-1", "settled": 2**30, "reserved": 0}
    assert {(row["state"], row["version"]) for row in ours.rows(CHARGES)} == {("settled", 1)}


def test_a_release_keeps_the_bytes_that_it_is_made_of(ours: Federation) -> None:
    ours.run()
    row = ours.row(RELEASES, version=1)
    digests = [row["model_digest"], row["total_digest"]]
    assert [ours.ledger.blob(digest) for digest in digests if isinstance(digest, bytes)] == [
        b"model of 1",
        b"total of 1",
    ]
    assert ours.ledger.releases(5)[-1].manifest == row["manifest"]


def test_a_candidate_that_comes_again_changes_nothing_and_is_told_the_identical_bytes(ours: Federation) -> None:
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts)
    said, before = ours.book(candidate, attached=attached), ours.everything()
    assert ours.book(candidate, attached=attached) == said
    assert ours.everything() == before


def test_a_member_that_is_not_open_rejects_the_candidate_and_nothing_is_counted(ours: Federation) -> None:
    window, verdicts = ours.filled()
    uninvited = ours.verdict("pump-4", window)
    ours.charge(uninvited)
    candidate, attached = ours.candidate(window, [*verdicts, uninvited])
    before = ours.everything()
    assert ours.book(candidate, attached=attached) == [Rejection(window=1, members=(uninvited.id,))]
    assert ours.everything() == before


def test_a_member_with_another_weight_is_rejected(ours: Federation) -> None:
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts, weight=63)
    said = ours.book(candidate, attached=attached)
    assert said == [Rejection(window=1, members=tuple(verdict.id for verdict in verdicts))]
    assert outcomes(ours) == ["open"] * 3


def test_a_member_that_nobody_admitted_is_rejected(ours: Federation) -> None:
    window, verdicts = ours.filled()
    unknown = msgspec.structs.replace(verdicts[0], id=bytes(32))
    candidate, attached = ours.candidate(window, [*verdicts, unknown])
    assert ours.book(candidate, attached=attached) == [Rejection(window=1, members=(bytes(32),))]


def test_a_candidate_sealed_again_without_the_rejected_member_is_released(ours: Federation) -> None:
    window, verdicts = ours.filled()
    unknown = msgspec.structs.replace(verdicts[0], id=bytes(32))
    candidate, attached = ours.candidate(window, [*verdicts, unknown])
    ours.book(candidate, attached=attached)
    candidate, attached = ours.candidate(window, verdicts)
    assert isinstance(ours.book(candidate, attached=attached)[0], Release)


def test_an_open_update_in_no_sum_waits_for_the_next_window_and_keeps_its_reservation(ours: Federation) -> None:
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts[:2])
    said = ours.book(candidate, attached=attached)
    assert set(ours.outcomes(said)) == {verdict.id for verdict in verdicts[:2]}
    assert ours.row(BUDGETS, device="pump-3")["reserved"] == 2**30
    opened, charge = ours.book(opening(1, DEVICES[:3]))
    assert isinstance(opened, Window)
    assert isinstance(charge, Charge)
    assert (charge.id, charge.weight, charge.staleness) == (verdicts[2].id, 45, 1)
    assert ours.row(BUDGETS, device="pump-3")["reserved"] == charge.spent == -(-(45**2) * 2**32 // 128**2)


def test_an_open_update_in_no_sum_is_refused_where_the_plan_folds_none(tmp_path: Path) -> None:
    ours = federation(tmp_path, plan(late="refuse"))
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts[:2])
    said = ours.book(candidate, attached=attached)
    assert ours.reasons(said) == ["late"]
    assert ours.row(BUDGETS, device="pump-3") == {"device": "pump-3", "settled": 2**30, "reserved": 0}


def test_a_reservation_of_a_sealed_window_is_settled_when_its_update_is_refused_at_last(tmp_path: Path) -> None:
    """Its noise was drawn, so nothing is given back (I18)."""
    ours = federation(tmp_path, plan(windows=1))
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts[:2])
    said = ours.book(candidate, attached=attached)
    assert ours.reasons(said) == ["ended"]
    assert ours.row(BUDGETS, device="pump-3") == {"device": "pump-3", "settled": 2**30, "reserved": 0}
    assert ours.book(candidate, attached=attached) == said


def test_a_reservation_of_a_sealed_window_is_settled_when_its_update_becomes_too_stale(tmp_path: Path) -> None:
    ours = federation(tmp_path, plan(staleness=0))
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts[:2])
    ours.book(candidate, attached=attached)
    said = ours.book(opening(1, DEVICES[:3]))
    assert ours.reasons(said) == ["stale"]
    assert ours.row(BUDGETS, device="pump-3") == {"device": "pump-3", "settled": 2**30, "reserved": 0}
    assert ours.book(opening(1, DEVICES[:3])) == said


def test_an_abandoned_window_gives_back_what_was_reserved(ours: Federation) -> None:
    window, verdicts = ours.filled()
    said = ours.give_up(window)
    assert said[0] == Closed(window=1)
    assert ours.outcomes(said) == {verdict.id: Abandoned(window=1) for verdict in verdicts}
    assert ours.row(BUDGETS, device="pump-1") == {"device": "pump-1", "settled": 0, "reserved": 0}
    assert {row["state"] for row in ours.rows(CHARGES)} == {"void"}


def test_a_window_that_no_model_could_be_made_of_says_why_and_settles_what_was_reserved(ours: Federation) -> None:
    """Its noise was drawn: what the strategy saw it may have told (I18)."""
    window, verdicts = ours.filled()
    why = "strategy 'wrong' raised RuntimeError at wrong.py:7"
    said = ours.book(Abandonment(window=1, arrived=3, quorum=2, noise_was_drawn=True, why=why))
    assert ours.outcomes(said) == {verdict.id: Abandoned(window=window.number) for verdict in verdicts}
    assert {row["state"] for row in ours.rows(CHARGES)} == {"settled"}
    audited = ours.rows(AUDIT)[-1]
    assert (audited["action"], why in audited["body"]) == ("window.abandoned", True)


def test_an_abandonment_that_comes_again_is_told_the_identical_bytes(ours: Federation) -> None:
    window, _ = ours.filled()
    said, before = ours.give_up(window), ours.everything()
    assert ours.give_up(window) == said
    assert ours.everything() == before


def test_a_window_that_is_released_cannot_be_abandoned(ours: Federation) -> None:
    window = ours.run()
    said = ours.give_up(window)
    assert isinstance(said[0], Release)
    assert states(ours) == ["released"]


def test_a_window_that_is_abandoned_cannot_be_released(ours: Federation) -> None:
    window, verdicts = ours.filled()
    said = ours.give_up(window)
    candidate, attached = ours.candidate(window, verdicts)
    assert ours.book(candidate, attached=attached) == said
    assert ours.rows(RELEASES) == []


def test_a_window_that_never_was_has_no_end(ours: Federation) -> None:
    assert ours.book(Abandonment(window=9, arrived=0, quorum=2)) == []


def test_the_plans_last_window_ends_the_federation(tmp_path: Path) -> None:
    ours = federation(tmp_path, plan(windows=1))
    window = ours.run()
    assert ours.book(opening(1, DEVICES)) == [
        Halt(after=1, reason="complete", why="all 1 windows of the plan have ended")
    ]
    assert ours.reasons(ours.book(ours.verdict("pump-4", window))) == ["uninvited"]


def test_the_audit_chain_holds_over_a_whole_federation(ours: Federation) -> None:
    ours.run()
    ours.give_up(ours.open(after=1))
    with reading(ours.ledger.engine) as tx:
        assert audit.verify(tx) == audit.head(tx)


def test_a_release_that_was_written_half_is_not_written(ours: Federation) -> None:
    """The members are counted before the row of the release is written; where that fails, neither stays."""
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts)
    broken = msgspec.structs.replace(candidate.aggregate, sigma=2**80)
    before = ours.everything()
    with pytest.raises(OverflowError):
        ours.book(Candidate(release=candidate.release, aggregate=broken), attached=attached)
    assert ours.everything() == before


# Payloads that are needed until the end


def ends(said: list[Message]) -> list[bytes | None]:
    return [one.ends for one in said if isinstance(one, Answer)]


def test_the_payload_of_a_member_that_has_ended_is_kept_until_its_window_has(ours: Federation) -> None:
    """It may have to be subtracted from the sealed sum: its receipt is told, and lets nothing go before the end."""
    window, verdicts = ours.filled()
    out, *rest = verdicts
    with ours.ledger.write(ours.epoch) as tx:
        updates.end(tx, out.id, updates.Ending("refused", b"receipt", now(), "quarantined"))
    assert ends(ours.book(out)) == [None]
    assert ours.ledger.unneeded([one.id for one in verdicts]) == set()
    rejected, attached = ours.candidate(window, verdicts)
    assert ours.book(rejected, attached=attached) == [Rejection(window=1, members=(out.id,))]
    candidate, attached = ours.candidate(window, rest)
    said = ours.book(candidate, attached=attached)
    assert sorted(map(str, ends(said))) == sorted(str(one.id) for one in verdicts)
    assert ours.ledger.unneeded([one.id for one in verdicts]) == {one.id for one in verdicts}
    assert ends(ours.book(out)) == [out.id]


def test_what_is_in_no_sum_lets_its_payload_go_at_once(ours: Federation) -> None:
    window = ours.open()
    zero, uninvited = ours.verdict("pump-1", window, refused="too long"), ours.verdict("pump-4", window)
    assert ends(ours.book(zero, uninvited)) == [zero.id, uninvited.id]
    assert ours.ledger.unneeded([zero.id, uninvited.id, bytes(32)]) == {zero.id, uninvited.id}


def test_the_receipt_of_an_update_is_what_a_probe_is_told_and_there_is_none_before_its_end(ours: Federation) -> None:
    window, verdicts = ours.filled()
    ids = [one.id for one in verdicts]
    assert ([ours.ledger.receipt(one) for one in (*ids, bytes(32))], ours.ledger.has_open_window()) == (
        [None] * 4,
        True,
    )
    candidate, attached = ours.candidate(window, verdicts)
    said = ours.book(candidate, attached=attached)
    told = {one.ends: one.sealed for one in said if isinstance(one, Answer)}
    assert {one: ours.ledger.receipt(one) for one in ids} == told
    assert not ours.ledger.has_open_window()
