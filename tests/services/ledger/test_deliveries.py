"""Deliveries: each is counted once, however often its batch is read."""

from collections import Counter

from services.ledger.deliveries import Tally


def test_an_entry_is_counted_once() -> None:
    tally = Tally({"judged": "5-2"})
    for entry in ("5-1", "5-2", "5-3", "5-3", "6-0"):
        tally.add("duplicate", "judged", entry)
    assert (tally.counts, tally.positions) == (Counter(duplicate=2), {"judged": "6-0"})


def test_streams_are_counted_apart() -> None:
    tally = Tally({"judged": "9-0"})
    tally.add("unauthenticated", "refused", "5-0")
    assert (tally.counts, tally.positions) == (Counter(unauthenticated=1), {"judged": "9-0", "refused": "5-0"})


def test_entries_are_ordered_as_numbers() -> None:
    tally = Tally({"judged": "9-9"})
    tally.add("duplicate", "judged", "9-10")
    tally.add("duplicate", "judged", "10-0")
    assert tally.counts == Counter(duplicate=2)


def test_a_first_admission_counts_although_redis_went_back_in_time() -> None:
    tally = Tally({"judged": "9-0"})
    tally.add("first", "judged", "3-0")
    assert (tally.counts, tally.positions) == (Counter(first=1), {"judged": "9-0"})
