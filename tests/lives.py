"""Programs that a test starts in order to kill them, and whether others outlive them."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

CHECKOUT = Path(__file__).parents[1]


class Lives:
    """Processes that run now, each held by a pidfd so that no later owner of its number is taken for it."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._handles = {pid: os.pidfd_open(pid) for pid in pids}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles.values():
            os.close(handle)

    def survivors(self, within_s: float = 5.0) -> set[int]:
        """Those that still run, after waiting up to `within_s` for all to end."""
        running, until = dict(self._handles), time.monotonic() + within_s
        while running and (left := until - time.monotonic()) > 0:
            over, _, _ = select.select(running.values(), [], [], left)
            running = {pid: handle for pid, handle in running.items() if handle not in over}
        return set(running)


@contextmanager
def program(text: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program that can import our checkout; its standard input stays open while the test runs."""
    with subprocess.Popen(
        [sys.executable, "-c", text, *arguments],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def children_of(pid: int) -> set[int]:
    """The processes that a process started and that have not been reaped."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
