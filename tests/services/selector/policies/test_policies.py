"""Every policy, by being found in its folder, keeps what the selector builds on; then each its own law."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizzle.plan import PlugIn
from mizzle.plugins import Policy
from mizzle.registry import plug_in
from services.selector.policies.uniform import Uniform
from tests.makers import digest, plug_ins

FOLDER = "services.selector.policies"
POLICIES: list[Policy] = [plug_in(FOLDER, PlugIn(name=name)) for name in plug_ins(FOLDER)]
PRESENT = tuple(f"device-{place}" for place in range(10))

devices = st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True), unique=True, max_size=20)
every_policy = pytest.mark.parametrize("policy", POLICIES, ids=plug_ins(FOLDER))


def test_every_policy_is_found() -> None:
    assert plug_ins(FOLDER) == ["uniform"]


@every_policy
@given(present=devices, count=st.integers(1, 25), entropy=st.binary(min_size=32, max_size=32))
def test_a_policy_invites_whom_it_can_and_nobody_twice(
    policy: Policy, present: list[str], count: int, entropy: bytes
) -> None:
    chosen = policy.choose(present, count, entropy)
    assert len(set(chosen)) == len(chosen) == min(count, len(present))
    assert set(chosen) <= set(present)


@every_policy
@given(order=st.permutations(PRESENT))
def test_a_policy_does_the_same_for_the_same_in_any_order(policy: Policy, order: list[str]) -> None:
    assert policy.choose(order, 4, digest("one")) == policy.choose(PRESENT, 4, digest("one"))


@every_policy
def test_a_policy_chooses_others_with_other_entropy(policy: Policy) -> None:
    assert len({policy.choose(PRESENT, 4, digest(str(turn))) for turn in range(20)}) > 10


def test_uniform_invites_everybody_as_often() -> None:
    """4,000 cohorts of 4 of 10: each is in 1,600 of them, give or take five standard deviations of 31."""
    times = Counter(device for turn in range(4000) for device in Uniform().choose(PRESENT, 4, digest(str(turn))))
    assert set(times) == set(PRESENT)
    assert all(abs(count - 1600) < 155 for count in times.values())
