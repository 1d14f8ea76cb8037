"""Ledgers that were cleaned up, restored, or collect by buffered windows are sound where nothing is wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.examples.judge.aging import buffered, lost, marked, resumed, resumed_at_once, tidied, tidy, told_again
from tests.examples.judge.maker import World, balance, codes, judged, world

STORIES = (tidied, marked, resumed, resumed_at_once, lost, buffered)


@pytest.mark.parametrize("story", STORIES)
def test_a_sound_story_is_found_sound(story: Callable[[], World], tmp_path: Path) -> None:
    found = judged(story(), tmp_path)
    assert (found.findings, found.is_clean) == ((), True)


@pytest.mark.parametrize("story", STORIES)
def test_a_sound_story_is_sound_beside_itself(story: Callable[[], World], tmp_path: Path) -> None:
    assert codes(story(), tmp_path, earlier=story()) == []


@pytest.mark.parametrize("story", [tidied, marked, resumed, resumed_at_once])
def test_it_is_sound_beside_the_copy_from_before(story: Callable[[], World], tmp_path: Path) -> None:
    assert codes(story(), tmp_path, earlier=world()) == []


@pytest.mark.parametrize("story", [marked, resumed])
def test_it_is_sound_beside_the_ledger_that_was_lost(story: Callable[[], World], tmp_path: Path) -> None:
    assert codes(story(), tmp_path, earlier=lost()) == []


def test_all_of_it_may_be_cleaned_up(tmp_path: Path) -> None:
    """After a restoration, too."""
    made = resumed()
    for row in [row for row in made.ledger["updates"] if row["outcome"] != "open" and row["reason"] != "restored"]:
        tidy(made, row["device"], row["named_window"])
    balance(made)
    assert codes(made, tmp_path, earlier=resumed()) == []


def test_what_can_no_longer_be_checked_is_said(tmp_path: Path) -> None:
    made = tidied()
    told_again(made, world().update("pump-1", 1))
    assert judged(made, tmp_path).unchecked == (
        "the headers, receipts, weights and charges of 5 updates of pumps that were cleaned up",
        "how many devices were in 2 releases of pumps whose members were cleaned up",
        "whether 5 receipts that are held were those that were cleaned up; as many were",
        "how 1 updates ended that were told only that it is long ago",
    )


def test_what_was_lost_is_said(tmp_path: Path) -> None:
    assert judged(resumed(), tmp_path, earlier=lost()).unchecked == (
        "what pumps did after release 2 and window 4, up to release 3 and window 5, which were lost",
        "whether a ledger that was lost had 2 receipts that are held",
        "what the earlier copy, which was lost, had done from row 13 of its log on",
    )


def test_a_copy_from_before_there_were_such_tables_is_read(tmp_path: Path) -> None:
    made = tidied()
    assert codes(made, tmp_path, earlier=without_newer_tables()) == []


def without_newer_tables() -> World:
    made = world()
    for table in ("past_updates", "past_devices", "restorations", "surcharges"):
        del made.ledger[table]
    return made
