"""The packages of somebody else, built and installed as such, into a folder on the path of tests and their children."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mizzle import registry

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has put the packages, a folder for each."""
    there = tmp_path_factory.mktemp("packages")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-build-isolation"]
    for package in ("outside", "wrong"):
        subprocess.run([*pip, "--no-deps", "--target", str(there / package), str(HERE / package)], check=True)
    return there


@pytest.fixture
def outside(packages: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One whose plug-ins behave, on the path of this process and of those it starts."""
    with found(packages / "outside", "mizzle_outside", monkeypatch) as there:
        yield there


@pytest.fixture
def wrong(packages: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One whose plug-ins do not, on the same."""
    with found(packages / "wrong", "mizzle_wrong", monkeypatch) as there:
        yield there


@contextmanager
def found(there: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package on the path, forgotten afterwards."""
    monkeypatch.syspath_prepend(str(there))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(there), os.environ.get("PYTHONPATH", ""))))
    registry.forget()
    yield there
    registry.forget()
    sys.modules.pop(module, None)
