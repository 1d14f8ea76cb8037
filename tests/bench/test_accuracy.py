"""What a code costs, in a short form: on the watch set, whose sixteen wrists are unlike each other."""

from dataclasses import replace

import numpy as np
import pytest

from bench import coin
from bench.accuracy import CODECS, CONTROL, FLOAT, Problem, Row, compared, faults, federated
from bench.mnist import CLASSES, DEVICES, EACH, mixed
from bench.perceptron import first_weights
from examples import watch
from mizzle import conformance

CODES = ("4 bits", "2 bits", "1 bit", CONTROL)
FINE = Row(accuracy=0.9, deviation=0.0, difference=0.0, by_seed=(0.9,), payload_bytes=1.0, clipped=0.0)


def wrists(rounds: int) -> Problem:
    """REFERENCES 2 C: eight of sixteen wrists a window, judged by the last third on people who never train."""
    return Problem(
        devices={wrist: watch.wrist(wrist) for wrist in watch.TRAINING},
        held_out=watch.held_out(),
        model=first_weights(36, 64, 7, np.random.default_rng(0)),
        seed=0,
        cohort=8,
        rounds=rounds,
        measured=rounds // 3,
    )


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    return compared([wrists(rounds=30)], {name: CODECS[name] for name in CODES}, lambda _: None)


def test_floats_learn_the_watch_set(rows: dict[str, Row]) -> None:
    assert rows[FLOAT].accuracy > 0.75


@pytest.mark.parametrize(("code", "tolerance"), [("4 bits", 0.005), ("2 bits", 0.01), ("1 bit", 0.015)])
def test_a_code_learns_what_floats_learn(rows: dict[str, Row], code: str, tolerance: float) -> None:
    """One seed and 1,101 examples: a tenth of what `make accuracy` tells apart."""
    assert abs(rows[code].difference) < tolerance


def test_the_control_learns_nothing_to_speak_of(rows: dict[str, Row]) -> None:
    assert rows[CONTROL].accuracy < 0.55


def test_fewer_bits_make_shorter_payloads(rows: dict[str, Row]) -> None:
    sizes = [rows[code].payload_bytes for code in (FLOAT, "4 bits", "2 bits", "1 bit")]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 4 + 2880 / 8


def test_the_same_seed_gives_the_same_run() -> None:
    few = wrists(rounds=3)
    assert federated(few, CODECS["1 bit"]) == federated(few, CODECS["1 bit"])


def test_another_seed_draws_other_cohorts() -> None:
    few = wrists(rounds=3)
    assert federated(few, CODECS["4 bits"]).cohorts != federated(replace(few, seed=1), CODECS["4 bits"]).cohorts


def test_the_control_keeps_what_a_codec_promises_but_that_feedback_helps() -> None:
    for check in conformance.CODEC:
        check(coin.Coin())


def test_a_good_table_has_no_faults() -> None:
    assert faults({FLOAT: FINE, "1 bit": replace(FINE, difference=-0.0029), CONTROL: replace(FINE, accuracy=0.2)}) == []


@pytest.mark.parametrize("difference", [0.0031, -0.0031])
def test_a_code_that_is_far_from_float_is_a_fault_on_either_side(difference: float) -> None:
    """What is better than float is so by chance or by a bias."""
    (fault,) = faults({FLOAT: FINE, "4 bits": replace(FINE, difference=difference)})
    assert fault == f"4 bits is {difference:+.4f} from float, wanted within 0.003"


def test_a_control_that_learns_is_a_fault() -> None:
    assert faults({FLOAT: FINE, CONTROL: FINE}) == ["the control learned: 0.9000, wanted below 0.5"]


@pytest.mark.parametrize(("alpha", "least", "most"), [(0.1, 1.0, 3.0), (1e6, 9.7, 10.0)])
def test_a_smaller_alpha_gives_devices_fewer_classes(alpha: float, least: float, most: float) -> None:
    """Every place goes to one device, and each device's classes count as so many equal ones: 1/Σp²."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, DEVICES * EACH)
    places = mixed(labels, alpha, random)
    assert sorted(places.ravel().tolist()) == list(range(DEVICES * EACH))
    of_each = np.array([np.bincount(labels[own], minlength=CLASSES) / EACH for own in places])
    assert least < (1 / np.square(of_each).sum(axis=1)).mean() < most
