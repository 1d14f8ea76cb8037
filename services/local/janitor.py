"""Leave nothing behind: a tiny program that outlives its parent just long enough to clean up after it.

    python -m services.local.janitor FOLDER

It makes FOLDER, says so with one line, and reads its standard input to the end. The end comes when the parent closes
the pipe or dies, however it dies. Then it kills what still runs of the processes noted in FOLDER, removes FOLDER and
exits.

It runs in a session of its own, without a death signal, and ignores SIGINT, SIGTERM and SIGHUP: whoever stops all at
once must not stop the one that cleans up, and it ends by itself as soon as its parent has. It imports the standard
library only and none of our code, so that it runs without a search path and is there in a few milliseconds.
"""

import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PIDS = "pids"
MERCY_S = 5.0


@contextmanager
def workplace(within: Path | None = None) -> Iterator[Path]:
    """A temporary folder, and a janitor that removes it and ends what runs in it when this process leaves or dies.

    The janitor makes the folder itself, so there is no moment at which a folder exists and nobody looks after it.

    Raises:
        NotADirectoryError: no folder can be made in `within`, or where temporary files go if it is not given.
    """
    folder = (within or Path(tempfile.gettempdir())).absolute() / f"mizzle-{secrets.token_hex(6)}"
    with _janitor_of(folder) as janitor:
        if not (janitor.stdout and janitor.stdout.readline()):
            raise NotADirectoryError(f"{folder} could not be made: {folder.parent} has to exist and to be writable")
        yield folder


def note(folder: Path, pid: int) -> None:
    """Write down that `pid` belongs to `folder`, with its birth, so that no later owner of the number is hit."""
    with (folder / PIDS).open("a") as pids:
        pids.write(f"{pid} {birth(pid)}\n")


def birth(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(
        stat.rpartition(")")[2].split()[19]
    )  # proc(5): field 22; the name before it may hold spaces and brackets


def sweep(folder: Path) -> None:
    """Kill what still runs of the processes noted in `folder`, and return when they are gone."""
    try:
        lines = (folder / PIDS).read_text().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        pid, born = line.split()
        if born != "None":
            _end(int(pid), int(born))


def main() -> None:
    """Look after the folder named by the first argument until the end of standard input."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    folder = Path(sys.argv[1])
    folder.mkdir(mode=0o700)  # one that exists is somebody else's: refuse it, never remove it
    sys.stdout.write(f"{folder}\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    sweep(folder)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _janitor_of(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    ) as janitor:  # leaving closes its standard input and waits for it
        yield janitor


def _end(pid: int, born: int) -> None:
    try:
        target = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # A pidfd means one process for ever: once its birth is right, no reuse of the number can come between.
        if birth(pid) == born:
            signal.pidfd_send_signal(target, signal.SIGKILL)
            select.select([target], [], [], MERCY_S)
    except ProcessLookupError:
        pass
    finally:
        os.close(target)


if __name__ == "__main__":
    main()
