"""Where payloads and blobs lie while a window is open: files, written before the header that names them is committed.

A file holds one payload (named by its update's id) or one blob (named by its digest). The folder is bounded by bytes;
when it is full the gateway stops reading its socket, so that the broker, and through it the devices, wait.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

from mizzle.errors import Away
from mizzle.failpoints import failpoint


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
        self._counting = threading.Lock()  # a gateway puts in one thread and discards in another
        self._sizes: dict[str, int] = {}
        self._used = 0
        self._count()

    def put(self, key: bytes, body: bytes) -> None:
        """Hold `body` under `key`; the same key again replaces the same bytes.

        Raises:
            SpoolFull: there is no room, by our own bound or the disk's.
        """
        name = key.hex()
        if not self._has_room(name, len(body)):
            self._count()
            if not self._has_room(name, len(body)):
                raise SpoolFull(f"the payload store {self._folder} holds {self._used} of {self._most} bytes")
        try:
            _write(self._path(name), body)
        except OSError as error:  # a full disk, as a rule
            raise SpoolFull(f"the payload store {self._folder} cannot be written: {error}") from error
        self._note(name, len(body))

    def get(self, key: bytes) -> bytes | None:
        """What lies under `key`, None if nothing does."""
        found = _read(self._path(key.hex()))
        return _read(f"{self._kept}/{key.hex()}") if found is None else found

    def discard(self, key: bytes) -> None:
        """The update has ended (or the blob is in the ledger): hold it no longer."""
        name = key.hex()
        with suppress(FileNotFoundError):
            if self._keep:
                os.replace(self._path(name), self._kept / name)
            else:
                os.unlink(self._path(name))
        self._note(name, 0)

    def _path(self, name: str) -> str:
        return f"{self._prefix}/{name[:2]}/{name}"

    def _has_room(self, name: str, size: int) -> bool:
        return self._used - self._sizes.get(name, 0) + size <= self._most

    def _note(self, name: str, size: int) -> None:
        """What lies under this name has so many bytes now; nothing has none."""
        with self._counting:
            self._used += size - self._sizes.pop(name, 0)
            if size:
                self._sizes[name] = size

    def _count(self) -> None:
        """Look at what lies there: services beside us put and discard, too."""
        folders = [folder for folder in self._folder.iterdir() if folder.is_dir() and folder != self._kept]
        found = {file.name: _size(str(file)) for folder in folders for file in folder.iterdir()}
        with self._counting:
            self._sizes, self._used = found, sum(found.values())


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
    with failpoint("spool-rename"):
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
