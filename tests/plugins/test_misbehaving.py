"""A plug-in that raises or gives nonsense ends what it was asked about, with a reason, and nothing else."""

from typing import Any

import numpy as np
import pytest

from mizzle.codec import decode_between_services, encode
from mizzle.device.effects import Train
from mizzle.device.events import Declined
from mizzle.device.training import Trainer, encoded
from mizzle.errors import Misbehaved, Unreadable
from mizzle.messages import Abandonment, Presence, Verdict
from mizzle.moves import Ground, Moved, Told
from mizzle.payload import read, written
from mizzle.plan import from_toml
from mizzle.terms import bound_of
from mizzle.vocabulary import MOST_SENTENCE
from services.aggregator import combine
from services.anomaly_detector import judge
from services.selector import invite
from tests.makers import MODEL, charge, digest, fold, ground, one_hot, payload, plan, received, tick, window
from tests.makers import PLAN as TINY
from tests.mizzle.device.federation import Federation

pytestmark = [pytest.mark.usefixtures("wrong"), pytest.mark.xdist_group("plugins")]

STRATEGIES = {
    "none": "gave a NoneType, wanted a model and a memory",
    "shorter": r"gave float64 \(59,\) for a model, wanted float64 \(60,\)",
    "narrower": r"gave float32 \(60,\) for a model",
    "flatter": r"gave float64 \(1, 60\) for a model",
    "a list": "gave list for a model",
    "NaN": "gave a model of which 60 of 60 numbers are NaN or infinite in 32 bits",
    "beyond 32 bits": "gave a model of which 60 of 60 numbers are NaN or infinite in 32 bits",
    "memory of nothing": "gave a NoneType to remember, wanted vectors by name",
    "memory of numbers": "gave int to remember",
    "narrow memory": r"gave float32 \(3,\) to remember",
    "infinite memory": "gave numbers to remember that are NaN or infinite",
    "memory without a name": "to remember, wanted float64 vectors by name",
    "too much memory": "gave 1020 numbers to remember, at most 960 may be",
    "in place": r"raised ValueError at mizzle_wrong.py:\d+",
    "raise": r"raised RuntimeError at mizzle_wrong.py:\d+",
    "raise Away": r"raised Away at mizzle_wrong.py:\d+",
    "exit": r"raised SystemExit at mizzle_wrong.py:\d+",
    "panic": r"raised Panic at mizzle_wrong.py:\d+",
    "a memory that raises": r"raised RuntimeError at mizzle_wrong.py:\d+",
    "a name that is the file's own": "(raised|gave something to remember that cannot be read again)",
}


def by(ours: str, theirs: str) -> Ground:
    """The small federation with somebody else's plug-in in the place of one of ours."""
    assert ours in TINY
    return ground(from_toml(TINY.replace(ours, theirs), MODEL))


def coded(how: str) -> Ground:
    return by('codec = "hadamard"\nbits = 8', f'codec = "wrong"\nhow = "{how}"')


def combined(land: Ground) -> Moved[combine.State]:
    """The window of two updates after its deadline."""
    told = [Told(charge(f"pump-{number}"), {digest(f"pump-{number}"): payload(one_hot(number))}) for number in range(2)]
    return fold(combine.step, land, combine.begin(land), [Told(window()), *told, tick(60)])


@pytest.mark.parametrize(("how", "why"), STRATEGIES.items(), ids=STRATEGIES)
def test_a_window_whose_strategy_misbehaves_is_given_up_and_nothing_is_released(how: str, why: str) -> None:
    moved = combined(by('strategy = "fedavg"', f'strategy = "wrong"\nhow = "{how}"'))
    (abandonment,) = moved.booked
    assert isinstance(abandonment, Abandonment)
    assert (moved.said, moved.kept, moved.noted) == ((), (), (abandonment.why,))
    assert (abandonment.arrived, abandonment.noise_was_drawn) == (2, True)
    assert_says(abandonment.why, f"strategy 'wrong' .*{why}.*")


def assert_says(text: str, pattern: str) -> None:
    """The text is as the pattern says, and tells nothing of what a device sent."""
    with pytest.raises(Misbehaved, match=pattern):
        raise Misbehaved(text)
    assert "0.123" not in text


def test_a_window_that_was_given_up_is_given_up_once() -> None:
    land = by('strategy = "fedavg"', 'strategy = "wrong"\nhow = "raise"')
    state = combined(land).state
    assert combine.step(land, state, tick(61)) == Moved(state)


@pytest.mark.parametrize("how", ["raise", "shorter", "floats"])
def test_a_window_whose_noise_is_none_is_given_up(how: str) -> None:
    moved = combined(by('"gaussian"\nnoise_multiplier = 0.2', f'"wrong"\nhow = "{how}"'))
    assert [type(message) for message in moved.booked] == [Abandonment]
    assert_says(moved.noted[0], "mechanism 'wrong' (raised RuntimeError|gave noise that is not 60 integers)")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nan", "gave no finite number"),
        ("endless", "gave no finite number"),
        ("wordless", "raised ValueError"),
        ("faulty", r"raised RuntimeError at mizzle_wrong.py:\d+"),
        ("reasoning", "gave a list for a reason"),
    ],
)
def test_a_content_that_a_score_cannot_judge_is_refused(name: str, why: str) -> None:
    (verdict,), noted = judged(name)
    assert (verdict.decided_by, verdict.score) == (name, 0.0)
    assert noted == (verdict.refused,)
    assert_says(noted[0], f"score '{name}' {why}")


def test_a_long_reason_is_cut_to_what_a_verdict_holds() -> None:
    (verdict,), noted = judged("wordy")
    assert decode_between_services(encode(verdict)) == verdict
    assert (verdict.refused, noted) == ("?" + "x" * (MOST_SENTENCE - 1), ())


def judged(score: str) -> tuple[list[Verdict], tuple[str, ...]]:
    """What the detector says of an honest update that this score is asked about."""
    land = ground(plan(judge=f'scores = ["{score}"]'))
    said = received("pump-1", payload(one_hot(3)))
    moved = judge.step(land, judge.begin(land), Told(said, {said.id: payload(one_hot(3))}))
    return [verdict for verdict in moved.said if isinstance(verdict, Verdict)], moved.noted


POLICIES = {
    "raise": r"raised RuntimeError at mizzle_wrong.py:\d+",
    "strangers": "chose 6, among them 0 different ones of 9; wanted 6",
    "twice": "chose 2, among them 1 different ones of 9; wanted 6",
    "too many": "chose 9, among them 9 different ones of 9; wanted 6",
    "none": "gave a NoneType, wanted the names of devices",
    "numbers": "chose 3, among them 0 different ones of 9; wanted 6",
}


@pytest.mark.parametrize(("how", "why"), POLICIES.items(), ids=POLICIES)
def test_a_policy_that_misbehaves_opens_no_window_and_is_asked_again_in_a_while(how: str, why: str) -> None:
    land = by('policy = "uniform"', f'policy = "wrong"\nhow = "{how}"')
    there = [
        Told(Presence(federation="barn", device=f"device-{number}", online=True, examples=9)) for number in range(9)
    ]
    moved = fold(invite.step, land, invite.begin(land), [*there, tick()])
    assert (moved.said, moved.booked) == ((), ())
    assert_says(moved.noted[0], f"no window opens: policy 'wrong' {why}")
    assert len(moved.state.present) == 9
    assert invite.step(land, moved.state, tick(4)).noted == ()
    assert invite.step(land, moved.state, tick(6)).noted == moved.noted


CODECS = (
    *("exit", "panic", "raise", "none", "shorter", "wide", "high", "a large multiplier", "a small multiplier"),
    *("a float for a multiplier", "beyond", "before", "one place twice", "fewer levels"),
)


@pytest.mark.parametrize("how", CODECS)
def test_what_a_codec_makes_nonsense_of_is_refused_as_no_payload(how: str) -> None:
    land = coded(how)
    said = received("pump-1", bytes(3))
    (verdict,) = judge.step(land, judge.begin(land), Told(said, {said.id: bytes(3)})).said
    assert isinstance(verdict, Verdict)
    assert verdict.decided_by == "shape"
    assert_says(
        str(verdict.refused),
        "codec 'wrong' (raised (ValueError|SystemExit|Panic) at|gave what is no update on the grid)",
    )


def test_an_update_that_is_readable_no_more_is_in_no_sum_and_the_window_goes_on() -> None:
    land = coded("raise")
    begun = fold(combine.step, land, combine.begin(land), [Told(window())]).state
    moved = combine.step(land, begun, Told(charge("pump-1"), {digest("pump-1"): bytes(3)}))
    assert moved.state.gathering is not None
    assert (moved.state.gathering.members, moved.state.gathering.arrived) == ({}, set())
    assert_says(moved.noted[0], "was read once and cannot be read now: codec 'wrong' raised ValueError at")


def test_a_payload_of_another_length_is_not_sent() -> None:
    """Where privacy is claimed, its length would tell something."""
    of = coded("longer").plan
    with pytest.raises(Misbehaved, match="codec 'wrong' wrote 4 bytes, all its payloads have 3"):
        written(np.zeros(60), of, bytes(32), bound_of(of), bytes)


def test_a_device_whose_codec_misbehaves_declines() -> None:
    barn = Federation(model=MODEL, toml=TINY.replace('"hadamard"\nbits = 8', '"wrong"\nhow = "longer"'))
    order = Train(barn.invite("pump-7"), barn.plan, MODEL)
    assert Trainer("pump-7", weights, 1, encoded, lambda _: None).do(order).end == Declined(1, "failed")


def weights(task: Any) -> Any:
    return task.weights


def test_bytes_that_our_own_codec_refuses_are_refused_in_its_own_words() -> None:
    with pytest.raises(Unreadable, match="a hadamard payload is"):
        read(bytes(1000), plan())
