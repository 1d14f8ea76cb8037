"""Whatever is booked, in whatever order and however often: the ledger adds up, and nobody passes a budget."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from mizzle.codec import decode
from mizzle.messages import Abandonment, Message, Refusal, Unauthenticated, Verdict, Window
from services.ledger import audit, deliveries
from services.ledger.engine import reading
from services.ledger.tables import BUDGETS, CHARGES, UPDATES, WINDOWS
from services.privacy_accountant.charge import terms_of
from services.runtime.service import Booking
from tests.services.federations import DEVICES, Federation, federation, opening
from tests.services.plans import budget_for, plan

DEED = st.tuples(st.sampled_from(("send", "refuse", "open", "release", "abandon", "forge")), st.integers(0, 11))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(DEED, min_size=1, max_size=6), max_size=8))
def test_the_ledger_adds_up_whatever_is_booked_however_often(batches: Sequence[Sequence[tuple[str, int]]]) -> None:
    with TemporaryDirectory() as folder:
        ours = federation(Path(folder), plan(budget=budget_for(2)))
        for deeds in batches:
            batch = [booking for deed in deeds for booking in bookings(ours, *deed)]
            ours.booked(batch)
            before = ours.everything()
            ours.booked(batch)
            assert ours.everything() == before
            assert_that_it_adds_up(ours)
        ours.ledger.engine.dispose()


def test_a_batch_is_one_transaction_and_so_one_write_to_the_disk(tmp_path: Path) -> None:
    ours = federation(tmp_path)
    window = ours.open()
    commits: list[object] = []
    event.listen(ours.ledger.engine, "commit", commits.append)
    ours.book(*(ours.verdict(device, window) for device in window.cohort))
    assert len(commits) == 1


def bookings(ours: Federation, deed: str, number: int) -> list[Booking]:
    """What a batch holds where this is done; `number` chooses a device and a window."""
    found = [decode(row["body"], Window) for row in ours.rows(WINDOWS)]
    if deed == "open":
        ended = [row for row in ours.rows(WINDOWS) if row["state"] != "open"]
        return [ours.booking(opening(len(ended), DEVICES))]
    if deed == "forge" or not found:
        return [ours.booking(Unauthenticated(device="pump-9", reason="forged"))]
    device, window = DEVICES[number % 4], found[-1 - number // 4 % len(found)]
    match deed:
        case "send":
            return [ours.booking(ours.verdict(device, window, refused="long" if number == 7 else None))]
        case "refuse":
            return [ours.booking(refusal(ours.verdict(device, window)))]
        case "abandon":
            return [ours.booking(Abandonment(window=window.number, arrived=0, quorum=2))]
        case _:
            return release(ours, window)


def release(ours: Federation, window: Window) -> list[Booking]:
    """The candidate of all that is open in the window."""
    members = [row["id"] for row in ours.rows(UPDATES) if (row["window"], row["outcome"]) == (window.number, "open")]
    candidate, attached = ours.candidate_of(window, members)
    return [ours.booking(candidate, attached)]


def refusal(verdict: Verdict) -> Message:
    return Refusal(id=verdict.id, update=verdict.update, sealed=verdict.sealed, reason="unreadable")


def assert_that_it_adds_up(ours: Federation) -> None:
    rows, budgets = ours.rows(UPDATES), {row["device"]: row for row in ours.rows(BUDGETS)}
    with reading(ours.ledger.engine) as tx:
        assert deliveries.counted(tx, "pumps").get("first", 0) == len(rows)
        audit.verify(tx)
    assert all((row["outcome"] == "open") == (row["receipt"] is None) for row in rows)
    charged: Counter[tuple[str, str]] = Counter()
    for charge in ours.rows(CHARGES):
        charged[charge["device"], charge["state"]] += charge["loss"]
    for device, budget in budgets.items():
        assert (budget["settled"], budget["reserved"]) == (charged[device, "settled"], charged[device, "reserved"])
        assert budget["settled"] + budget["reserved"] <= terms_of(ours.plan).limit
    waiting = {row["id"] for row in rows if row["outcome"] == "open"}
    assert {row["update"] for row in ours.rows(CHARGES) if row["state"] == "reserved"} <= waiting
