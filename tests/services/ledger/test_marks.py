"""A high-water mark and a bitmap: what has ended is known for the newest counters, and nothing else is."""

from hypothesis import given
from hypothesis import strategies as st

from services.ledger.marks import MOST, NOTHING, SPAN, Marks

COUNTERS = st.integers(0, 3 * SPAN)


def ended(*counters: int) -> Marks:
    marks = NOTHING
    for counter in counters:
        marks = marks.ending(counter)
    return marks


@given(st.lists(COUNTERS, max_size=30), COUNTERS)
def test_a_counter_has_ended_if_it_was_marked_or_lies_further_back_than_the_span(
    counters: list[int], asked: int
) -> None:
    marks = ended(*counters)
    assert marks.has_ended(asked) == (asked in counters or asked <= max(counters, default=-1) - SPAN)


@given(st.lists(COUNTERS, max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_endings_does_not_matter(counters: list[int], order: object) -> None:
    shuffled = sorted(counters, key=lambda _: order.random())  # type: ignore[attr-defined]
    assert ended(*shuffled) == ended(*counters)


@given(st.lists(COUNTERS, min_size=1, max_size=30))
def test_marks_are_read_as_they_were_written_and_take_a_kilobyte_at_most(counters: list[int]) -> None:
    marks = ended(*counters)
    assert Marks.read(marks.mark, marks.body) == marks
    assert len(marks.body) <= SPAN // 8


def test_nothing_has_ended_at_first() -> None:
    assert not NOTHING.has_ended(0)


def test_a_counter_that_no_column_holds_is_held_for_the_highest_that_one_does() -> None:
    marks = ended(7, 2**64 - 1)
    assert (marks.mark, marks.has_ended(2**64 - 1), marks.has_ended(7)) == (MOST, True, True)
