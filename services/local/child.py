"""A child process that cannot outlive its parent.

The kernel kills it when the *thread* that started it ends (PR_SET_PDEATHSIG), so children are started from the main
thread only. It has a session of its own, so Ctrl-C reaches the parent alone. A program that changes its user on the
way, as servers started by root do, loses the death signal: have it stay who it is. A child that starts processes of its
own has to end them itself.
"""

import ctypes
import math
import os
import select
import signal
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from services.local import janitor

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl
_prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


@dataclass(frozen=True, slots=True)
class Child:
    """One life of a child; when it is started again, that is another `Child`."""

    name: str
    log: Path
    _popen: subprocess.Popen[bytes] = field(repr=False)

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its session."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs, then its exit status, or −n when signal n ended it."""
        return self._popen.poll()

    @property
    def last_words(self) -> str:
        """The end of its log, at most 2,000 bytes."""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 2_000))
            return log.read().decode(errors="replace").strip()

    def kill(self, signum: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal; one that has ended gets none."""
        self._popen.send_signal(signum)

    def wait(self, timeout_s: float) -> int:
        """Its return code once it has ended; TimeoutError if it still runs after `timeout_s`."""
        wait_for_any([self], timeout_s)
        if (code := self.returncode) is None:
            raise TimeoutError(f"{self.name} (pid {self.pid}) was to end within {timeout_s} s and still runs")
        return code


def spawn(folder: Path, name: str, argv: Sequence[str], env: Mapping[str, str]) -> Child:
    """Start a child whose environment is ours plus `env`; it logs to `folder/log/NAME.log`, noted for the janitor.

    Raises:
        RuntimeError: not called from the main thread.
        OSError: there is no such program.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(f"{name} would be killed when this thread ends: start children from the main thread")
    log = folder / "log" / f"{name}.log"
    log.parent.mkdir(exist_ok=True)
    parent = os.getpid()
    with log.open("ab") as output:
        popen = subprocess.Popen(
            argv,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: die_with(parent),  # noqa: PLW1509 - system calls only, looked up before the fork
        )
    janitor.note(folder, popen.pid)
    return Child(name, log, popen)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that made it ends; if the parent is gone already, end now."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def wait_for_any(children: Iterable[Child], timeout_s: float, news: int | None = None) -> None:
    """Return once one of the children has ended or the descriptor `news` can be read, or after `timeout_s`.

    The time may be infinite.
    """
    poll = select.poll()
    if news is not None:
        poll.register(news, select.POLLIN)
    with ExitStack() as opened:
        for child in children:
            if child.returncode is not None:
                return
            pidfd = os.pidfd_open(child.pid)
            opened.callback(os.close, pidfd)
            poll.register(pidfd, select.POLLIN)
        poll.poll(None if math.isinf(timeout_s) else math.ceil(timeout_s * 1_000))
