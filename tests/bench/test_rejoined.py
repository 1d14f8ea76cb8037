"""What is made of an outage's counts, and which comebacks are not good enough."""

from dataclasses import replace

import msgspec
import pytest

from bench.machine import Machine
from bench.rejoined import Comeback, Rejoined, complaints, figures
from services.local.judgement import Judgement

EVEN = Comeback(tuple(place / 2 for place in range(10)), promised_s=5.0)
SOUND = Judgement(0, 0, 0, 0, (), {})
WRONG = msgspec.structs.replace(SOUND, findings=({"code": "lost"},))
RAN = Rejoined(
    devices=10,
    offline_s=20.0,
    comeback=EVEN,
    outcomes={"counted in window 1": 8, "counted in window 2": 2},
    last_receipt_s=6.125,
    later=10,
    cpu_s={"broker": 0.125, "fleet-0": 0.5},
    peak_mb={"broker": 8.25, "fleet-0": 100.5},
    judgement=SOUND,
    machine=Machine(fsync_p50_ms=0.1234, load_average=1.5, idle_share=0.25),
)


def test_an_outages_figures_are_these() -> None:
    assert figures(RAN) == {
        "devices": 10,
        "offline_s": 20.0,
        "outcomes": 10,
        "outcomes_by_kind": {"counted in window 1": 8, "counted in window 2": 2},
        "later_updates": 10,
        "reconnections": 10,
        "first_reconnection_s": 0.0,
        "reconnection_span_s": 4.5,
        "promised_span_s": 5.0,
        "reconnections_a_second": 2.0,
        "most_in_a_second": 2,
        "most_over_mean": 1.0,
        "last_receipt_s": 6.12,
        "cpu_s": {"broker": 0.12, "fleet-0": 0.5},
        "peak_mb": {"broker": 8.2, "fleet-0": 100.5},
        "peak_mb_in_all": 108.8,
        "judgement": {
            "lost": 0,
            "doubled": 0,
            "receipts_without_ledger_row": 0,
            "conservation_difference": 0,
            "findings": 0,
        },
        "fsync_p50_ms": 0.123,
        "load_average": 1.5,
        "idle_share": 0.25,
    }


def test_an_even_comeback_with_every_receipt_and_a_clean_verdict_is_good() -> None:
    assert complaints(RAN) == []


def test_devices_that_all_come_in_one_moment_are_a_rush_however_short_their_own_span_is() -> None:
    moment = Comeback((1.0,) * 10, promised_s=5.0)
    assert (moment.most, moment.mean, moment.rush) == (10, 2.0, 5.0)
    assert complaints(replace(RAN, comeback=moment)) == [
        "10 devices came back in one second, wanted at most 2.0 times the mean of 2.0"
    ]


def test_a_straggler_makes_the_mean_lower_and_not_the_rush() -> None:
    assert Comeback((*EVEN.at, 20.0), promised_s=5.0).mean == 11 / 20


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"outcomes": {"counted in window 1": 9}}, "10 updates waited through the outage, and 9 have a receipt"),
        ({"judgement": WRONG}, "the judge finds 1 things wrong with the ledger or an outbox"),
        ({"comeback": Comeback((), 5.0)}, "10 devices were to come back, and 0 connections came"),
    ],
)
def test_whatever_is_missing_or_wrong_is_a_complaint(wrong: dict[str, object], why: str) -> None:
    assert complaints(replace(RAN, **wrong)) == [why]  # type: ignore[arg-type]  # one field or the other
