"""Small disks that can be filled: a tmpfs of a few megabytes over a folder, seen by this process and its children.

Mounts are made in a mount namespace of this process's own, so they are gone with it, however it dies.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CLONE_NEWNS = 0x00020000
_MEGABYTE = 1 << 20


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A disk of `size` bytes in place of the folder, until the context is left.

    It skips the test where we may not mount anything: that takes root.
    """
    if not _may_mount():
        pytest.skip("a disk is mounted by root alone")
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Let there be no room on the disk of this folder, until the context is left."""
    ballast = folder / "ballast"
    try:
        fill(ballast)
        yield
    finally:
        ballast.unlink()


def fill(ballast: Path) -> None:
    """Take every byte that is left; once more takes what was freed since."""
    with ballast.open("ab", buffering=0) as file:
        for size in (_MEGABYTE, 1024, 1):
            try:
                while file.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue


@cache
def _may_mount() -> bool:
    """Whether this process has a mount namespace of its own, from now on."""
    if os.geteuid() != 0 or ctypes.CDLL(None).unshare(_CLONE_NEWNS) != 0:
        return False
    done = subprocess.run(["mount", "--make-rprivate", "/"], check=False, capture_output=True)
    return done.returncode == 0
