"""What may be released: a candidate in its place, and exactly what its signed manifest and the plan say."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from mizzle.manifest import ModelFile
from mizzle.messages import Abandoned, Candidate, Closed, Message, Release
from services.ledger.tables import AUDIT, BUDGETS, CHARGES, RELEASES, UPDATES
from tests.services.federations import Federation, federation


@pytest.fixture
def ours(tmp_path: Path) -> Federation:
    return federation(tmp_path)


@pytest.mark.parametrize(
    "claims",
    [
        {"version": 7},
        {"window": 7},
        {"plan": "0" * 64},
        {"previous": "0" * 64},
        {"federation": "valves"},
        {"model": ModelFile(digest="0" * 64, size=1, format="safetensors")},
        {"role": "invitation"},
    ],
    ids=lambda claims: next(iter(claims)),
)
def test_a_candidate_whose_manifest_says_something_else_is_dropped(ours: Federation, claims: dict[str, Any]) -> None:
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts)
    dropped(ours, with_release(candidate, ours.release(candidate.aggregate, **claims)), attached)


def test_a_candidate_with_another_digest_of_its_manifest_is_dropped(ours: Federation) -> None:
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts)
    named = msgspec.structs.replace(candidate.release, manifest_digest=bytes(32))
    dropped(ours, with_release(candidate, named), attached)


def test_a_candidate_made_from_another_model_is_dropped(ours: Federation) -> None:
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts)
    other = msgspec.structs.replace(window.base, digest=bytes(32))
    aggregate = msgspec.structs.replace(candidate.aggregate, base=other)
    dropped(ours, Candidate(release=candidate.release, aggregate=aggregate), attached)


def test_a_candidate_that_no_release_key_signed_is_dropped(ours: Federation) -> None:
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts)
    forged = msgspec.structs.replace(
        candidate.release, manifest=candidate.release.manifest.replace(b'"sig":"', b'"sig":"A')
    )
    dropped(ours, with_release(candidate, forged), attached)


def test_a_candidate_whose_release_is_of_another_aggregate_is_dropped(ours: Federation) -> None:
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts)
    aggregate = msgspec.structs.replace(candidate.aggregate, model=candidate.aggregate.total)
    dropped(ours, with_release(candidate, ours.release(aggregate)), attached)


def test_a_window_with_too_small_a_crowd_is_never_released(tmp_path: Path) -> None:
    """Two updates of one device are no crowd of two; its noise was drawn, so the charges stand."""
    ours = federation(tmp_path)
    first = ours.open()
    ours.give_up(first)
    second = ours.open(after=1)
    late, in_time = ours.verdict("pump-1", first), ours.verdict("pump-1", second)
    ours.charge(late, in_time)
    candidate, attached = ours.candidate(second, [late, in_time])
    said = ours.book(candidate, attached=attached)
    assert said[0] == Closed(window=2)
    assert set(ours.outcomes(said).values()) == {Abandoned(window=2)}
    assert ours.rows(RELEASES) == []
    assert ours.row(BUDGETS, device="pump-1")["reserved"] == 0
    assert {row["state"] for row in ours.rows(CHARGES)} == {"settled"}


def test_less_noise_than_planned_is_never_released(ours: Federation) -> None:
    window, verdicts = ours.filled()
    candidate, attached = ours.candidate(window, verdicts, sigma=2 * 64 * 2**21 - 1)
    assert ours.book(candidate, attached=attached)[0] == Closed(window=1)
    assert ours.rows(RELEASES) == []
    assert [row["outcome"] for row in ours.rows(UPDATES)] == ["abandoned"] * 3
    assert ours.rows(AUDIT)[-1]["action"] == "window.abandoned"


def test_a_release_whose_bytes_are_lost_never_is_one(ours: Federation) -> None:
    window, verdicts = ours.filled()
    candidate, _ = ours.candidate(window, verdicts)
    assert ours.book(candidate)[0] == Closed(window=1)
    assert ours.rows(RELEASES) == []


def dropped(ours: Federation, candidate: Candidate, attached: dict[bytes, bytes]) -> None:
    before = ours.everything()
    said: list[Message] = ours.book(candidate, attached=attached)
    assert said == []
    assert ours.everything() == before


def with_release(candidate: Candidate, release: Release) -> Candidate:
    return Candidate(release=release, aggregate=candidate.aggregate)
