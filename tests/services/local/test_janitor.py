import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from services.local import janitor
from services.local.janitor import birth, note, sweep, workplace
from tests.lives import CHECKOUT, Lives, children_of, program

# Starts what it can, tells of it, and stays until its standard input ends; `away` has lost its death signal.
PARENT = """
import json, subprocess, sys
from services.local import janitor
from services.local.broker import start_broker
from services.local.processes import Processes
from services.local.store import start_store
with janitor.workplace() as folder, Processes(folder) as children:
    url, broker = start_store(children), start_broker(children)
    away = subprocess.Popen(["sleep", "600"], start_new_session=True)
    janitor.note(folder, away.pid)
    ports = [int(url.rpartition(":")[2].removesuffix("/0")), broker.port]
    print(json.dumps({"folder": str(folder), "ports": ports}), flush=True)
    sys.stdin.read()
    if sys.argv[1] == "crash":
        raise SystemExit(1 / 0)
"""


class Running(NamedTuple):
    process: subprocess.Popen[bytes]
    folder: Path
    ports: list[int]
    lives: Lives


@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT", "SIGTERM", "crash", "leave"])
def test_nothing_is_left_however_the_parent_ends(end: str) -> None:
    """No process, no port and no file; SIGINT goes to its whole process group, as Ctrl-C does."""
    with running(end) as here:
        assert (here.folder / "pids").exists()
        if end.startswith("SIG"):
            os.killpg(here.process.pid, signal.Signals[end])
        elif here.process.stdin:
            here.process.stdin.close()
        assert here.lives.survivors() == set()
    assert not here.folder.exists()
    assert [port for port in here.ports if listens(port)] == []


def test_a_stopped_child_is_not_left_either() -> None:
    with running("SIGKILL") as here:
        for line in (here.folder / "pids").read_text().splitlines():
            os.kill(int(line.split()[0]), signal.SIGSTOP)
        here.process.kill()
        assert here.lives.survivors() == set()
    assert not here.folder.exists()


def test_the_janitor_outlives_what_stops_everything_else() -> None:
    with running("SIGKILL") as here:
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(janitor_of(here.process.pid), signum)
        here.process.kill()
        assert here.lives.survivors() == set()
    assert not here.folder.exists()


def test_a_reused_pid_is_not_hit(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as later:
        (tmp_path / "pids").write_text(f"{later.pid} {(birth(later.pid) or 0) - 1}\n")
        sweep(tmp_path)
        assert later.poll() is None
        note(tmp_path, later.pid)
        sweep(tmp_path)
        assert later.wait() == -signal.SIGKILL


def test_one_that_ended_long_ago_is_no_trouble(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        note(tmp_path, gone.pid)
    note(tmp_path, gone.pid)
    sweep(tmp_path)
    assert birth(gone.pid) is None


def test_a_folder_that_exists_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("mine")
    ended = subprocess.run(
        [sys.executable, "-m", "services.local.janitor", str(tmp_path)],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert (tmp_path / "thesis").read_text() == "mine"


def test_the_janitor_runs_as_a_module(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    ended = subprocess.run(
        [sys.executable, "-m", "services.local.janitor", str(folder)],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    assert ended.stdout.decode() == f"{folder}\n"
    assert not folder.exists()


def test_a_workplace_is_private_and_quickly_there() -> None:
    began = time.monotonic()
    with workplace() as folder:
        assert time.monotonic() - began < 1
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_a_place_where_no_folder_can_be_made_is_named(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(NotADirectoryError, match=f"{nowhere} has to exist"), workplace(nowhere):
        pass


def test_the_janitor_imports_nothing_of_ours() -> None:
    """It is run by its path, without one to search."""
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import runpy; runpy.run_path({janitor.__file__!r})"], check=False
    )
    assert ended.returncode == 0


@contextmanager
def running(end: str) -> Iterator[Running]:
    with program(PARENT, end) as process:
        assert process.stdout
        said = json.loads(process.stdout.readline())
        with Lives(children_of(process.pid)) as lives:
            yield Running(process, Path(said["folder"]), said["ports"], lives)


def janitor_of(pid: int) -> int:
    """The child that was started with our file."""
    commands = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in children_of(pid)}
    (found,) = (child for child, command in commands.items() if janitor.__file__.encode() in command)
    return found


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
