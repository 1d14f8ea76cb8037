"""Every plug-in there is, ours and those of installed packages, passes its kind's checks without being told."""

import itertools
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mizzle import conformance
from mizzle.conformance import CHECKS, Check, Nonconforming
from mizzle.grid import Levels
from mizzle.plan import PlugIn, Setting
from mizzle.registry import plug_in
from tests.makers import plug_ins

FOLDERS = {
    "codecs": "mizzle.codecs",
    "mechanisms": "mizzle.mechanisms",
    "policies": "services.selector.policies",
    "scores": "services.anomaly_detector.scores",
    "strategies": "services.aggregator.strategies",
}
FIELDS: dict[str, dict[str, Setting]] = {"gaussian": {"noise_multiplier": 0.2}}
"""What a plug-in cannot do without."""

OURS = [(kind, name) for kind, folder in FOLDERS.items() for name in plug_ins(folder)]


def made(kind: str, name: str) -> Any:
    return plug_in(FOLDERS[kind], PlugIn(name=name, fields=FIELDS.get(name, {})))


def test_every_plug_in_of_the_tree_is_checked() -> None:
    assert sorted(name for _, name in OURS) == [
        "adagrad", "adam", "drive", "fedavg", "gaussian", "hadamard", "history", "momentum", "norm", "plain", "topk",
        "uniform", "yogi",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name", "check"),
    [pytest.param(kind, name, check, id=f"{name}: {check.__name__}") for kind, name in OURS for check in CHECKS[kind]],
)
def test_ours_conform(kind: str, name: str, check: Check) -> None:
    check(made(kind, name))


@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("check", conformance.CODEC, ids=lambda check: check.__name__)
def test_drive_conforms_with_either_width(bits: int, check: Check) -> None:
    check(plug_in("mizzle.codecs", PlugIn(name="drive", fields={"bits": bits})))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("check", conformance.CODEC, ids=lambda check: check.__name__)
def test_hadamard_conforms_with_either_width(bits: int, check: Check) -> None:
    check(plug_in("mizzle.codecs", PlugIn(name="hadamard", fields={"bits": bits})))


@pytest.mark.parametrize("kind", ["codecs", "policies", "scores", "strategies"])
def test_those_of_another_package_conform(kind: str, outside: Path) -> None:
    (offer,) = entry_points(group=f"mizzle.{kind}")
    assert offer.dist is not None
    assert Path(str(offer.dist.locate_file(""))) == outside
    for check in CHECKS[kind]:
        check(made(kind, offer.name))


class Broken:
    """One that breaks every promise of every kind it is taken for."""

    bits, error_feedback, claims = 8, False, True
    turns = itertools.count(1)

    def payload_bytes(self, _grid: object) -> int:
        return 10

    def encode(self, *_: object) -> bytes:
        return b"%d" % next(self.turns)

    def decode(self, payload: bytes, grid: Any) -> Any:
        levels = np.zeros(grid.padded, np.int16)
        levels[0] = 2 * len(payload)
        return Levels(2**31, levels)

    def sigma(self, *_: int) -> int:
        return 1

    def price(self, weight: int, *_: int) -> int:
        return 70 - weight

    def noise(self, _key: bytes, sigma: int, size: int) -> Any:
        return np.full(size, sigma * 9, np.int64)

    def choose(self, present: list[str], *_: object) -> tuple[str, ...]:
        return (*present, *present, "somebody else")

    def score(self, norm: float, _past: object) -> float:
        return -1 - norm

    def refuses(self, _score: float) -> str:
        return "x" * 501

    def apply(self, model: Any, mean: Any, memory: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        moved = model - 9 * mean - 0.001 * next(self.turns)
        mean += 1
        memory["steps"] = 1
        return moved, {"steps": np.zeros(1, np.float32)}


@pytest.mark.parametrize(
    "check",
    [pytest.param(check, id=check.__name__) for checks in CHECKS.values() for check in checks],
)
def test_a_check_can_fail(check: Check) -> None:
    with pytest.raises(Nonconforming):
        check(Broken())
