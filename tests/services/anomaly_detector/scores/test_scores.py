"""What each score says of an update; what all of them keep to is checked in tests/plugins."""

import math

from services.anomaly_detector.scores.history import History
from services.anomaly_detector.scores.norm import Norm


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
