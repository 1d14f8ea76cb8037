"""Every score, by being found in its folder, keeps what the judge builds on; then each its own rule."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizzle.plan import PlugIn
from mizzle.plugins import Assessment
from mizzle.registry import plug_in
from services.anomaly_detector.scores.history import History
from services.anomaly_detector.scores.norm import Norm
from tests.makers import plug_ins

FOLDER = "services.anomaly_detector.scores"
SCORES: list[Assessment] = [plug_in(FOLDER, PlugIn(name=name)) for name in plug_ins(FOLDER)]

norms = st.floats(0, 1e12)
pasts = st.lists(st.floats(0, 1), max_size=16)
every_score = pytest.mark.parametrize("assessment", SCORES, ids=plug_ins(FOLDER))


def test_every_score_is_found() -> None:
    assert plug_ins(FOLDER) == ["history", "norm"]


@every_score
@given(norm=norms, past=pasts)
def test_a_score_is_a_finite_number_and_refuses_above_one(
    assessment: Assessment, norm: float, past: list[float]
) -> None:
    score = assessment.score(norm, past)
    refused = assessment.refuses(score)
    assert 0 <= score <= 1e300
    assert (refused is not None) == (score > 1)
    assert len(refused or "") <= 500


@every_score
@given(norm=st.floats(0, 1))
def test_the_first_update_of_a_device_is_refused_by_no_score_if_it_fits(assessment: Assessment, norm: float) -> None:
    assert assessment.refuses(assessment.score(norm, [])) is None


@every_score
@given(past=pasts)
def test_the_zero_update_is_refused_by_no_score(assessment: Assessment, past: list[float]) -> None:
    assert assessment.refuses(assessment.score(0.0, past)) is None


def test_the_norm_refuses_the_least_excess() -> None:
    assert (Norm().refuses(1.0), Norm().refuses(math.nextafter(1, 2))) == (None, "its norm is 1 times the bound")


def test_a_device_may_send_ten_times_its_median_and_no_more() -> None:
    past = [0.1, 0.05, 0.05, 0.001, 0.05]
    assert History().refuses(History().score(0.5, past)) is None
    assert History().refuses(History().score(0.6, past)) == "its norm is 12 times its device's usual one"


def test_a_device_with_a_short_past_is_not_compared() -> None:
    assert [History().score(1.0, [0.01] * length) for length in (3, 4)] == [0.0, 10.0]


def test_a_device_that_sent_almost_nothing_may_send_a_tenth_of_the_bound() -> None:
    assert [History().refuses(History().score(norm, [0.0] * 9)) is None for norm in (0.1, 0.11)] == [True, False]
