"""The ledger as services hold it: epochs, and the facts that they begin with."""

from pathlib import Path

import pytest

from mizzle.errors import Fenced, Misconfigured, Superseded
from mizzle.messages import Charge, Closed, Halt, Message
from services.ledger.ledger import Ledger
from tests.services.federations import DEVICES, Federation, federation, opening
from tests.services.plans import MODEL, budget_for, plan


@pytest.fixture
def ours(tmp_path: Path) -> Federation:
    return federation(tmp_path)


def test_a_ledger_gives_what_the_federation_was_founded_with(ours: Federation) -> None:
    assert (ours.ledger.plan(), ours.ledger.model(), ours.ledger.epoch) == (ours.plan, MODEL, 0)


def test_two_ledgers_have_different_names(ours: Federation, tmp_path: Path) -> None:
    assert ours.ledger.name != federation(tmp_path / "other", enrol=()).ledger.name


def test_a_federation_that_the_ledger_does_not_know_is_refused(ours: Federation) -> None:
    with pytest.raises(Misconfigured, match="knows no federation 'valves', it knows pumps"):
        Ledger.open(str(ours.ledger.engine.url), "valves")


def test_epochs_of_a_place_only_grow_and_each_place_has_its_own(ours: Federation) -> None:
    assert [ours.ledger.issue_epoch("selector") for _ in range(3)] == [1, 2, 3]
    assert ours.ledger.issue_epoch("aggregator") == 1


def test_whoever_begins_again_gets_its_place_only_where_nobody_came_after(ours: Federation) -> None:
    first = ours.ledger.issue_epoch("selector")
    again = ours.ledger.issue_epoch("selector", first)
    assert again == first + 1
    with pytest.raises(Superseded, match="given to a successor in epoch 2; ours was 1"):
        ours.ledger.issue_epoch("selector", first)
    assert ours.ledger.issue_epoch("selector", again) == again + 1, "who was refused took it"


def test_only_the_newest_epoch_writes(ours: Federation) -> None:
    older, newer = ours.epoch, ours.ledger.issue_epoch("privacy_accountant")
    with ours.ledger.write(newer):
        pass
    for epoch in (older, newer + 1):
        with pytest.raises(Fenced), ours.ledger.write(epoch):
            pytest.fail("a fenced writer was let in")


def test_a_ledger_that_nothing_happened_in_has_no_facts(ours: Federation) -> None:
    assert (ours.ledger.facts(), ours.ledger.releases(3)) == ([], [])


def test_the_facts_are_the_open_window_and_what_it_holds(ours: Federation) -> None:
    window = ours.open()
    said: list[Message] = ours.book(ours.verdict("pump-1", window), ours.verdict("pump-2", window, refused="long"))
    charges = [one for one in said if isinstance(one, Charge)]
    assert len(charges) == 2
    facts = ours.ledger.facts()
    assert facts[0] == window
    assert sorted(facts[1:], key=id_of) == sorted(charges, key=id_of)


def test_the_facts_are_the_newest_release_and_how_the_newest_window_ended(ours: Federation) -> None:
    ours.run()
    (release,) = ours.ledger.releases(5)
    assert ours.ledger.facts() == [release, Closed(window=1, version=1)]
    ours.give_up(ours.open(after=1))
    assert ours.ledger.facts() == [release, Closed(window=2)]


def test_the_facts_say_that_the_federation_has_ended(tmp_path: Path) -> None:
    ours = federation(tmp_path, plan(budget=budget_for(1)))
    ours.run()
    halt = ours.book(opening(1, DEVICES))[0]
    assert isinstance(halt, Halt)
    assert ours.ledger.facts()[-1] == halt


def test_releases_are_the_newest_ones_newest_last(ours: Federation) -> None:
    for after in range(3):
        ours.run(after=after)
    assert [release.version for release in ours.ledger.releases(2)] == [2, 3]


def id_of(message: Message) -> bytes:
    assert isinstance(message, Charge)
    return message.id
