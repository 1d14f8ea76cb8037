"""The package of somebody else, built and installed as such, into a folder on the path of tests and their children."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mizzle import registry

SOURCE = Path(__file__).with_name("outside")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has put the package."""
    there = tmp_path_factory.mktemp("outside")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-build-isolation"]
    subprocess.run([*pip, "--no-deps", "--target", str(there), str(SOURCE)], check=True)
    return there


@pytest.fixture
def outside(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same, on the path of this process and of those it starts."""
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(installed), os.environ.get("PYTHONPATH", ""))))
    registry.forget()
    yield installed
    registry.forget()
    sys.modules.pop("mizzle_outside", None)
