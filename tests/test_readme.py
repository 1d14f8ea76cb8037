"""The first three commands that README.md gives to each role do what they say."""

import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from services.local.child import Child
from services.local.processes import Processes
from tests.compose.containers import SEARCHED, config
from tests.lives import CHECKOUT

DOORS = (CHECKOUT / "README.md").read_text().partition("## Three doors")[2].partition("\n## ")[0]
DEVICE, READER, OPERATOR = (block.splitlines() for block in re.findall(r"```sh\n(.*?)```", DOORS, re.DOTALL))
PATIENCE_S = 60.0


def test_each_role_has_three_commands() -> None:
    assert [len(lines) for lines in (DEVICE, READER, OPERATOR)] == [3, 3, 3]


def test_a_device_is_counted_and_a_reader_gets_the_release_by_these_commands(children: Processes, folder: Path) -> None:
    """As they stand, in an empty folder in which both environments are the one that the tests run in."""
    for environment in (".venv", "build/reader"):
        (folder / environment).parent.mkdir(exist_ok=True)
        (folder / environment).symlink_to(sys.prefix)

    def terminal(name: str, *lines: str) -> Child:
        script = "\n".join(("set -e", f"cd {folder}", *lines[:-1], f"exec {lines[-1]}"))
        return children.start(name, ["sh", "-c", script], {"PYTHONPATH": str(CHECKOUT)})

    up = terminal("up", made(DEVICE[0]))
    until(children, (folder / "build/up/reader.env").exists, up)
    device, reader = terminal("device", *DEVICE[1:]), terminal("reader", *READER[1:])
    until(children, lambda: "is counted in release" in device.log.read_text(), up, device)
    until(children, lambda: re.search(r"^release \d+: 1\d updates", reader.log.read_text(), re.MULTILINE), up, reader)
    written = sorted((folder / "build/up").iterdir())
    assert [(file.name, stat.S_IMODE(file.stat().st_mode)) for file in written] == [
        ("pump-7.env", 0o600),
        ("reader.env", 0o600),
    ]
    up.kill(signal.SIGTERM)
    up.wait(PATIENCE_S)
    assert list((folder / "build/up").iterdir()) == []


def made(line: str) -> str:
    """What `make` runs for this command, with the Python that runs the tests."""
    own = ("--dry-run", "--assume-old=.venv/.installed", f"PYTHON={sys.executable}")
    program, *arguments = shlex.split(line)
    # A `make test` around us would have its say, too.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    argv = [program, *own, *arguments]
    done = subprocess.run(argv, cwd=CHECKOUT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def until(children: Processes, holds: Callable[[], object], *running: Child) -> None:
    """Return once it holds; none of these may end before."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        for child in children.tend(0.05):
            assert child not in running, child.last_words
        assert time.monotonic() < end, [child.last_words for child in running]


def test_the_readers_environment_is_made_where_the_other_commands_look_for_it() -> None:
    venv, install = READER[0].split(" && ")
    assert shlex.split(venv) == ["python3", "-m", "venv", "build/reader"]
    assert [line.split(" ")[0] for line in (install, READER[2])] == ["build/reader/bin/pip", "build/reader/bin/mizzle"]


def test_pip_installs_the_checkout_by_the_readers_command() -> None:
    """Up to what would be written and fetched: that is tried with the image's steps (tests/compose/test_image.py)."""
    _, *arguments = shlex.split(READER[0].split(" && ")[1])
    dry = (
        "--dry-run",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--ignore-installed",
        "--quiet",
        "--report=-",
    )
    argv = [sys.executable, "-m", "pip", *arguments, *dry]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"name": "mizzle"' in done.stdout


def test_docker_compose_takes_the_operators_commands() -> None:
    """Its own parser, which reads all flags before it comes to `--help`; there is no engine here to run them on."""
    for line in OPERATOR:
        docker, compose, *arguments = shlex.split(line, comments=True)
        done = subprocess.run(
            ["docker-compose", arguments[0], "--help", *arguments[1:]],
            env={"HOME": "/", "PATH": SEARCHED},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (docker, compose, done.returncode) == ("docker", "compose", 0), done.stderr
        assert f"docker compose {arguments[0]}" in done.stdout


def test_the_operators_commands_name_services_of_the_file_and_a_command_of_theirs() -> None:
    """tests/compose runs both: a token by `operator`, and the signal to `broker` that its answer asks for."""
    services = config()["services"]
    _, _, run, rm, service, *command = shlex.split(OPERATOR[1])
    _python, *entry = services[service]["entrypoint"]
    assert (run, rm, entry) == ("run", "--rm", ["-m", "services.operator"])
    argv = [sys.executable, *entry, *command, "--help"]
    said = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (said.returncode, re.search(r"Usage: .* token ", said.stdout) is not None) == (0, True), said.stderr
    assert shlex.split(OPERATOR[2], comments=True)[-1] in services
