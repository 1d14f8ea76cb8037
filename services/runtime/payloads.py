"""Where payloads and blobs lie while a window is open: files, written before the header that names them is committed.

A file holds one payload (named by its update's id) or one blob (named by its digest). The folder is bounded by bytes;
when it is full the gateway stops reading its socket, so that the broker, and through it the devices, wait.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from mizzle.errors import Away

if TYPE_CHECKING:
    from collections.abc import Iterator


class SpoolFull(Away):
    """The payload store holds as much as it may: wait until windows end."""


class Spool:
    """A payload store in a folder that the services of one host share."""

    def __init__(self, folder: Path, most_bytes: int, *, keep: bool = False) -> None:
        """A store in `folder` of at most `most_bytes`; with `keep`, ended payloads move aside for an auditor."""
        self._folder, self._most, self._keep = folder, most_bytes, keep
        self._prefix = str(folder)
        self._kept = folder / "kept"
        self._kept.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._used = sum(self._sizes())

    def put(self, key: bytes, body: bytes) -> None:
        """Hold `body` under `key`; the same key again replaces the same bytes.

        Raises:
            SpoolFull: there is no room, by our own bound or the disk's.
        """
        path = self._path(key)
        growth = len(body) - _size(path)
        if self._used + growth > self._most:
            self._used = sum(self._sizes())
            if self._used + growth > self._most:
                raise SpoolFull(f"the payload store {self._folder} holds {self._used} of {self._most} bytes")
        try:
            _write(path, body)
        except OSError as error:  # a full disk, as a rule
            raise SpoolFull(f"the payload store {self._folder} cannot be written: {error}") from error
        self._used += growth

    def get(self, key: bytes) -> bytes | None:
        """What lies under `key`, None if nothing does."""
        found = _read(self._path(key))
        return _read(f"{self._kept}/{key.hex()}") if found is None else found

    def discard(self, key: bytes) -> None:
        """The update has ended (or the blob is in the ledger): hold it no longer."""
        path = self._path(key)
        size = _size(path)
        try:
            if self._keep:
                os.replace(path, self._kept / key.hex())
            else:
                os.unlink(path)
        except FileNotFoundError:
            return
        self._used -= size

    def _path(self, key: bytes) -> str:
        name = key.hex()
        return f"{self._prefix}/{name[:2]}/{name}"

    def _sizes(self) -> Iterator[int]:
        for folder in self._folder.iterdir():
            if folder.is_dir() and folder != self._kept:
                yield from (_size(str(path)) for path in folder.iterdir())


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except FileNotFoundError:
        return None


def _write(path: str, body: bytes) -> None:
    """Have `body` lie at `path`, whole or not at all."""
    writing = f"{path}.{os.getpid()}.{threading.get_ident()}"
    try:
        _fill(writing, body)
    except FileNotFoundError:  # the first one of its folder
        Path(path).parent.mkdir(exist_ok=True)
        _fill(writing, body)
    os.replace(writing, path)


def _fill(path: str, body: bytes) -> None:
    with open(path, "wb") as file:
        file.write(body)


def _size(path: str) -> int:
    """How long the file is; 0 if there is none, or another thread has just removed it."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
