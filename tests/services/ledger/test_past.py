"""Updates that ended long ago: their rows go, their counts stay, and who sends one again is told that it has ended."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import pytest

from mizzle.envelope import Purpose, seal, unseal
from mizzle.messages import Charge, Message, Refusal, Verdict, Window
from services.ledger import past
from services.ledger.conservation import Accounts, accounts
from services.ledger.engine import reading, writing
from services.ledger.past import DAY_MS, RETENTION_DAYS
from services.ledger.tables import BUDGETS, CHARGES, PAST_DEVICES, PAST_UPDATES, UPDATES
from services.privacy_accountant.book import book
from tests.services.federations import DEVICES, Federation, federation, opening


@pytest.fixture
def ours(tmp_path: Path) -> Federation:
    return federation(tmp_path)


def booked(ours: Federation, days: float, *messages: Message) -> list[Message]:
    """What the accountant says, so many days after now."""
    at = round((time.time() + days * 86_400) * 1000)
    return book(ours.ledger, ours.ground, ours.epoch, [ours.booking(message) for message in messages], lambda: at)


def later(ours: Federation, *messages: Message) -> list[Message]:
    """What the accountant says the second time round when the retention is over: the first time, rows go."""
    booked(ours, RETENTION_DAYS + 1, opening(0, DEVICES))
    return booked(ours, 2 * RETENTION_DAYS, *messages)


def counted(ours: Federation) -> Accounts:
    with reading(ours.ledger.engine) as tx:
        return accounts(tx, "pumps")


def refusal(verdict: Verdict) -> Refusal:
    return Refusal(id=verdict.id, update=verdict.update, sealed=verdict.sealed, reason="unreadable")


def signed(ours: Federation, verdict: Verdict, counter: int) -> Verdict:
    """The same update, as its device signs it under this counter."""
    key = ours.device_keys[verdict.update.device]
    sealed = seal(verdict.update, Purpose.UPDATE, key, epoch=0, counter=counter)
    return msgspec.structs.replace(verdict, id=unseal(sealed).id, sealed=sealed)


def test_rows_stay_as_long_as_the_retention_and_then_go(ours: Federation) -> None:
    ours.run()
    booked(ours, RETENTION_DAYS - 1, opening(0, DEVICES))
    assert len(ours.rows(UPDATES)) == 3
    booked(ours, RETENTION_DAYS + 1, opening(0, DEVICES))
    assert (ours.rows(UPDATES), ours.rows(CHARGES)) == ([], [])


def test_the_accounts_are_the_same_before_and_after(ours: Federation) -> None:
    ours.run()
    window = ours.open(after=1)
    ours.charge(ours.verdict("pump-1", window), ours.verdict("pump-2", window, refused="it is too long"))
    ours.give_up(window)
    before, budgets = counted(ours), ours.rows(BUDGETS)
    later(ours)
    assert (counted(ours), before.difference) == (before, 0)
    assert (ours.rows(BUDGETS), ours.rows(UPDATES)) == (budgets, [])
    assert sum(row["count"] for row in ours.rows(PAST_UPDATES)) == 5
    assert sum(row["settled"] for row in ours.rows(PAST_DEVICES)) == sum(row["settled"] for row in budgets)


def test_an_update_that_is_sent_again_a_year_later_is_told_the_same_bytes_and_counts_nowhere(ours: Federation) -> None:
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts)
    ours.book(candidate, attached=attached)
    later(ours)
    before, accounts = ours.everything(), counted(ours)
    answers = [booked(ours, days, verdicts[0]) for days in (365, 366, 730)]
    assert answers[0] == answers[1] == answers[2]
    assert ours.reasons(answers[0]) == ["already-ended"]
    assert booked(ours, 731, refusal(verdicts[0])) == answers[0]
    assert (ours.everything(), counted(ours).outcomes) == (before, accounts.outcomes)
    assert counted(ours).deliveries == {"first": 3, "duplicate": 4}


def test_a_replay_is_answered_the_same_after_other_rows_have_gone_too(ours: Federation) -> None:
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts)
    ours.book(candidate, attached=attached)
    later(ours)
    answer = booked(ours, 200, verdicts[0])
    ours.run(after=1)
    later(ours)
    assert ours.rows(UPDATES) == []
    assert booked(ours, 400, verdicts[0]) == answer


def test_a_device_that_begins_again_at_lower_counters_is_heard(ours: Federation) -> None:
    window = ours.open()
    high = [signed(ours, ours.verdict(device, window), 500) for device in window.cohort]
    ours.charge(*high)
    candidate, attached = ours.candidate(window, high)
    ours.book(candidate, attached=attached)
    later(ours)
    assert ours.row(PAST_DEVICES, device="pump-1")["mark"] == 500
    window = ours.open(after=1)
    for counter in (3, 500):  # below the mark, and upon it
        verdict = signed(ours, ours.verdict(window.cohort[0], window, nonce=counter), counter)
        (said,) = ours.book(verdict)
        assert isinstance(said, Charge) == (counter == 3)  # the second for this window is refused as one
        assert ours.reasons([said]) == ([] if counter == 3 else ["second"])


def test_an_update_of_old_that_never_came_before_is_new(ours: Federation) -> None:
    """It is late or stale by now, and its device is told so, once it is in the accounts."""
    window = ours.open()
    verdicts = [signed(ours, ours.verdict(device, window), 10) for device in ("pump-1", "pump-2")]
    ours.charge(*verdicts)
    candidate, attached = ours.candidate(window, verdicts)
    ours.book(candidate, attached=attached)
    later(ours)
    other = signed(ours, ours.verdict("pump-1", window, nonce=9), 9)
    assert booked(ours, 400, other) == []  # it waits to be folded, as any late one
    assert [row["id"] for row in ours.rows(UPDATES)] == [other.id]
    assert counted(ours).difference == 0


def test_what_a_window_that_is_open_still_needs_stays(ours: Federation) -> None:
    window = ours.open()
    ours.charge(ours.verdict("pump-1", window, refused="it is too long"), ours.verdict("pump-2", window))
    later(ours)
    assert [row["outcome"] for row in ours.rows(UPDATES)] == ["refused", "open"]


def test_so_many_rows_go_at_once_and_no_more(ours: Federation) -> None:
    ours.run()
    with writing(ours.ledger.engine) as tx:
        assert past.tidy(tx, "pumps", 2**53, most=2) == 2
        assert past.tidy(tx, "pumps", 2**53, most=2) == 1
        assert past.tidy(tx, "pumps", 2**53, most=2) == 0


def test_a_year_of_windows_leaves_a_bounded_ledger(tmp_path: Path) -> None:
    """52 weeks of one window each and a retention of 14 days: never more rows than three windows have."""
    ours = federation(tmp_path)
    ours = replace(ours, ledger=replace(ours.ledger, retention_ms=14 * DAY_MS))
    first: list[Verdict] = []
    for week in range(52):
        window = next(said for said in booked(ours, 7 * week, opening(week, DEVICES[:3])) if isinstance(said, Window))
        verdicts = [ours.verdict(device, window, nonce=week) for device in window.cohort]
        first = first or verdicts
        booked(ours, 7 * week, *verdicts)
        candidate, attached = ours.candidate(window, verdicts)
        booking = ours.booking(candidate, attached)
        book(ours.ledger, ours.ground, ours.epoch, [booking], partial(round, (time.time() + 7 * week * 86_400) * 1000))
        assert len(ours.rows(UPDATES)) <= 9
        assert counted(ours).difference == 0
    assert counted(ours).outcomes == {"counted": 156}
    assert max(len(row["ended"]) for row in ours.rows(PAST_DEVICES)) <= 7
    assert ours.reasons(booked(ours, 365, *first)) == ["already-ended"] * 3
