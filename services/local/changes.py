"""Folders that are watched for writes, so that whoever waits for what a file holds need not look again and again.

The kernel tells it (inotify(7)), through a descriptor that can be read once something was written. What SQLite commits
may be seen by a reader a moment after it was written, so look again a little later even if nothing more is told.
"""

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

_MODIFIED, _CREATED, _DELETED = 0x2, 0x100, 0x200  # <sys/inotify.h>
_libc = ctypes.CDLL(None, use_errno=True)


class Changes:
    """Watches files directly in these folders inside the context; `news` can be read after any of them has changed.

    Raises:
        OSError: one of the folders is not there, or the kernel watches as much as it may already.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = tuple(folders)

    def __enter__(self) -> Self:
        self.news = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        for folder in self._folders:
            _checked(_libc.inotify_add_watch(self.news, os.fsencode(folder), _MODIFIED | _CREATED | _DELETED), folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.news)

    def forget(self) -> None:
        """Let `news` be silent until something changes again."""
        try:
            while os.read(self.news, 65_536):
                pass
        except BlockingIOError:
            return


def _checked(answer: int, folder: Path | None = None) -> int:
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{os.strerror(code)}: see /proc/sys/fs/inotify", str(folder or "inotify"))
    return answer
