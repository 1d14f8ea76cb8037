"""The image without an engine: the Dockerfile's own COPY and RUN lines, in a temporary root."""

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from dockerfile_parse import DockerfileParser

from services.local.janitor import workplace
from services.pipeline import FLOW
from tests.compose.containers import TREE

DOCKERFILE: Final = TREE / "services" / "Dockerfile"
WHOLE: Final = os.environ.get("MIZZLE_IMAGE_CHECK") == "1"
"""Install what pip is told to, which takes a minute; else pip only resolves what this environment has anyway."""


def steps(target: str) -> Iterator[tuple[str, str]]:
    """The instructions that lead to the stage `target`, those of the stages below it first."""
    parser = DockerfileParser(fileobj=io.BytesIO(DOCKERFILE.read_bytes()))
    stages: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for step in parser.structure:
        if step["instruction"] == "FROM":
            image, _, name = step["value"].split()
            current = stages[name] = list(stages.get(image, ()))
        elif step["instruction"] != "COMMENT":
            current.append((step["instruction"], step["value"]))
    yield from stages[target]


class Root:
    """A folder that is built as the image's root would be."""

    def __init__(self, folder: Path) -> None:
        """The base image: nothing but Python, as an environment of its own."""
        self.folder, self.work, self.user = folder, Path("/"), "0:0"
        self.python = folder / "venv" / "bin" / "python"
        pip = () if WHOLE else ("--without-pip",)
        subprocess.run([sys.executable, "-m", "venv", *pip, folder / "venv"], check=True)

    def build(self, target: str) -> None:
        """Do every step of `target`."""
        for instruction, value in steps(target):
            match instruction:
                case "WORKDIR":
                    self.work = Path(value)
                    self.place(value).mkdir(parents=True)
                case "COPY":
                    self.copy(*value.split())
                case "RUN":
                    self.run(value)
                case "USER":
                    self.user = value
                case "ENV":
                    assert all("=" in word for word in shlex.split(value))
                case _:
                    pytest.fail(f"this test does not know the instruction {instruction} {value}")

    def place(self, path: str) -> Path:
        """Where a path of the image is here."""
        return self.folder / (self.work / path).relative_to("/")

    def copy(self, *words: str) -> None:
        """Copy files and the contents of folders from the build's context, as COPY does."""
        *sources, target = words
        for source in sources:
            if (TREE / source).is_dir():
                shutil.copytree(
                    TREE / source, self.place(target), ignore=shutil.ignore_patterns("__pycache__", "node_modules")
                )
            else:
                shutil.copy(TREE / source, self.place(target))

    def run(self, command: str) -> None:
        """Run a command in the working folder, with the root's own Python, for the owner who may give files away."""
        command = re.sub(r"(?<![\w.])/(var|opt)/", rf"{self.folder}/\1/", command)
        if os.geteuid() != 0:
            command = command.replace("-o 10001 -g 10001 ", "")
        if "pip install" in command and not WHOLE:
            command = command.replace("pip install", "pip install --no-deps --no-build-isolation --dry-run")
            command = command.replace("python -m pip", f"{sys.executable} -m pip")
        path = f"{self.python.parent}:{os.environ['PATH']}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.place("."),
            env=environment | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout


@pytest.fixture
def root() -> Iterator[Root]:
    with workplace() as folder:
        yield Root(folder)


@pytest.mark.parametrize("target", ["services", "demo"])
def test_every_step_of_the_image_succeeds_and_it_ends_without_privileges(root: Root, target: str) -> None:
    root.build(target)
    assert root.user == "10001:10001"
    for name in ("ledger", "keys", "payloads", "broker", "redis", "fleet", "secrets/broker", "secrets/keys/release"):
        folder = root.place(f"/var/lib/mizzle/{name}")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert os.geteuid() != 0 or folder.stat().st_uid == 10001
    assert root.place("examples").exists() == (target == "demo")


def test_every_service_starts_from_the_image_alone(root: Root) -> None:
    """Each says what it is missing, a setting; not a module, which the image would have forgotten."""
    root.build("services")
    python = root.python if WHOLE else Path(sys.executable)
    heavy = "import sys, runpy; sys.modules['torch'] = sys.modules['opacus'] = sys.modules['fastapi'] = None; "
    for module in (*(f"services.{place.service}" for place in FLOW), "services.ledger", "services.operator"):
        asked = ["--help"] if module in {"services.ledger", "services.operator"} else []
        code = f"{heavy}sys.argv[1:] = {asked}; runpy.run_module({module!r}, run_name='__main__')"
        done = subprocess.run(
            [python, "-c", code],
            cwd=root.place("."),
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        expected = 0 if asked else 3
        assert done.returncode == expected, (module, done.stderr)
        assert "ModuleNotFoundError" not in done.stderr
