"""What each policy chooses; what all of them keep to is checked in tests/plugins."""

from collections import Counter

from services.selector.policies.uniform import Uniform
from tests.makers import digest

PRESENT = tuple(f"device-{place}" for place in range(10))


def test_uniform_chooses_others_with_other_entropy() -> None:
    assert len({Uniform().choose(PRESENT, 4, digest(str(turn))) for turn in range(20)}) > 10


def test_uniform_invites_everybody_as_often() -> None:
    """4,000 cohorts of 4 of 10: each is in 1,600 of them, give or take five standard deviations of 31."""
    times = Counter(device for turn in range(4000) for device in Uniform().choose(PRESENT, 4, digest(str(turn))))
    assert set(times) == set(PRESENT)
    assert all(abs(count - 1600) < 155 for count in times.values())
