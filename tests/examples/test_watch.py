"""The watch set is read safely, whole."""

import io
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from examples import watch
from mizzle.errors import Unreadable

ROOT = watch.PLAN.parents[2]


def test_the_set_is_twenty_wrists_and_4677_windows() -> None:
    sizes = {name: len(watch.wrist(name)[1]) for name in watch.HELD_OUT + watch.TRAINING}
    assert (len(sizes), sum(sizes.values())) == (20, 4677)
    assert (sizes["1-left"], sizes["1-right"], sizes["10-right"]) == (303, 258, 257)
    assert len(watch.held_out()[1]) == 1101


def test_a_wrist_gives_36_figures_a_window_and_one_of_seven_labels() -> None:
    inputs, labels = watch.wrist("3-left")
    assert (inputs.shape, labels.shape) == ((165, 36), (165,))
    assert (str(inputs.dtype), str(labels.dtype)) == ("float32", "int64")
    assert set(labels) == set(range(7))


def test_the_figures_are_mean_deviation_least_most_median_and_mean_step() -> None:
    """Two windows of 100 samples, half of them shared, of a ramp that is steeper on each channel."""
    ramp = np.arange(150.0)[:, None] * np.arange(1, 7)
    first, second = watch.features(ramp).reshape(2, 6, 6)
    deviation = np.sqrt((100**2 - 1) / 12)
    one = np.array([49.5, deviation, 0, 99, 49.5, 1])
    assert np.allclose(first, np.outer(one, np.arange(1, 7)))
    assert np.allclose(second, np.outer(one + np.array([50, 0, 50, 50, 50, 0]), np.arange(1, 7)))


def test_the_volunteer_is_normal_by_the_volunteers_own_figures() -> None:
    inputs = np.concatenate([watch.wrist("7-left")[0], watch.wrist("7-right")[0]])
    assert np.abs(inputs.mean(axis=0)).max() < 1e-4
    assert np.abs(inputs.std(axis=0) - 1).max() < 1e-4


def test_a_wrist_is_read_once_and_cannot_be_changed() -> None:
    inputs, _ = watch.wrist("3-left")
    assert watch.wrist("3-left")[0] is inputs
    with pytest.raises(ValueError, match="read-only"):
        inputs[0] = 0


def elsewhere(code: str, *path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """What `code` says in a process of its own, which finds modules in `path` first."""
    places = os.pathsep.join(map(str, [*path, ROOT, *sys.path]))
    environment = os.environ | settings | {"PYTHONPATH": places}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_device_reads_the_wrist_that_its_setting_names_and_torch_only_when_asked() -> None:
    code = (
        "import sys; from examples.watch import *; a = arrays(); print('torch' in sys.modules, a[0].shape)\n"
        "t = tensors(); print(t[0].dtype, t[1].dtype, (t[0].numpy() == a[0]).all(), (t[1].numpy() == a[1]).all())"
    )
    said = elsewhere(code, WATCH_WRIST="4-right")
    assert said.stdout == "False (135, 36)\ntorch.float32 torch.int64 True True\n", said.stderr


def test_an_unknown_wrist_is_named_beside_the_known_ones() -> None:
    said = elsewhere("from examples.watch import arrays; arrays()", WATCH_WRIST="11-left").stderr
    assert "WATCH_WRIST is one of 1-left, 1-right" in said
    assert "got '11-left'" in said


def test_a_set_that_is_not_installed_says_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "seglearn.py").touch()
    said = elsewhere("from examples.watch import held_out; held_out()", tmp_path).stderr
    assert "Misconfigured" in said
    assert said.endswith("Run: pip install --no-deps seglearn==1.2.5\n")


def test_a_set_of_other_bytes_is_not_unpickled(tmp_path: Path) -> None:
    (tmp_path / "seglearn.py").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "watch_dataset.npy").write_bytes(b"anything")
    assert "Forged" in elsewhere("from examples.watch import held_out; held_out()", tmp_path).stderr


@pytest.mark.parametrize("foreign", [Path("x"), OrderedDict(a=1), print])
def test_a_pickle_that_names_a_foreign_class_is_refused(foreign: object) -> None:
    content = pickle.dumps({"X": [np.zeros(2)], "also": foreign}, protocol=2)
    content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    with pytest.raises(Unreadable, match="numpy's types alone"):
        watch.ArraysOnly(io.BytesIO(content)).load()


def test_a_pickle_of_arrays_is_read() -> None:
    content = pickle.dumps({"X": [np.arange(3)]}, protocol=2).replace(
        b"numpy._core.multiarray", b"numpy.core.multiarray"
    )
    assert (watch.ArraysOnly(io.BytesIO(content)).load()["X"][0] == np.arange(3)).all()
