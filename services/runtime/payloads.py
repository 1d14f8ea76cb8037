"""Where payloads and blobs lie while a window is open: files, written before the header that names them is committed.

A file holds one payload (named by its update's id) or one blob (named by its digest):

    {2 digits}/{id}    payloads, put and discarded by the gateway alone
    blobs/{digest}     what is made of a window: put by the aggregator, discarded by the accountant at the window's end
    coming/{device}    parts of updates that are not complete, the gateway's own business (`gateway/comings.py`)
    kept/{id}          ended payloads, for an auditor
    boot               after which start of this machine the payloads were written; it alone is synced to the disk

What the folder holds is bounded by bytes; when it is full the gateway stops reading its socket, so that the broker, and
through it the devices, wait. Only the gateway puts payloads, so its own count of them is exact, whatever others do; a
share of the room is set aside for what is coming. Blobs take no room from payloads: they are those of one window, and a
sum that found no room would keep for ever the payloads that its window's end lets go.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mizzle.errors import Away
from mizzle.failpoints import failpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DIGITS: Final = 2  # of an id's hexadecimal name, by which payloads are spread over folders


class SpoolFull(Away):
    """The payload store holds as much as it may: wait until windows end."""


class Spool:
    """A payload store in a folder that the services of one host share."""

    def __init__(self, folder: Path, most_bytes: int, *, keep: bool = False, boot: str | None = None) -> None:
        """A store in `folder` of at most `most_bytes`; with `keep`, ended payloads move aside for an auditor.

        `boot` is which start of this machine this is, if not what the machine says itself.
        """
        self._folder, self._most, self._keep = folder, most_bytes, keep
        self._boot, self._mark = boot or _boot(), folder / "boot"
        self._is_swept = False
        self._prefix = str(folder)
        self._kept = folder / "kept"
        self._kept.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._blobs = folder / "blobs"
        self._blobs.mkdir(exist_ok=True, mode=0o700)
        self._counting = threading.Lock()  # a gateway puts in one thread and discards in another
        self._sizes: dict[str, int] = {}
        self._used = 0
        self._count()

    def put(self, key: bytes, body: bytes | memoryview) -> None:
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
        """What lies under `key`, None if nothing does; a payload of before this machine's start is nothing.

        It may be torn by a loss of power, and payloads are not hashed again, as blobs are where they are read. The
        gateway removes it when it starts, which may be after its readers.
        """
        name = key.hex()
        payload = (self._path(name),) if self._is_swept or self._is_of_this_boot() else ()
        for path in (*payload, f"{self._prefix}/blobs/{name}", f"{self._prefix}/kept/{name}"):
            if (found := _read(path)) is not None:
                return found
        return None

    def size(self, key: bytes) -> int | None:
        """How many bytes of a payload lie under `key`, None if it is not there."""
        try:
            return os.stat(self._path(key.hex())).st_size
        except FileNotFoundError:
            return None

    def discard(self, key: bytes) -> None:
        """Nobody needs the update's payload any more: hold it no longer."""
        name = key.hex()
        with suppress(FileNotFoundError):
            if self._keep:
                os.replace(self._path(name), self._kept / name)
            else:
                os.unlink(self._path(name))
        self._note(name, 0)

    def set_aside(self, size: int) -> None:
        """Leave so many bytes of the room to others."""
        self._most -= size

    def payloads(self) -> list[bytes]:
        """The ids of all payloads that are here."""
        return [bytes.fromhex(file.name) for file in self._files() if "." not in file.name]

    def sweep_unfinished(self, boot: str | None = None) -> None:
        """Remove what a killed gateway had not written to the end, and all of an earlier `boot` of this machine.

        Nothing here is synced to the disk, so a loss of power leaves files whose length is right and whose bytes are
        not: their devices are asked for them again. Whoever writes still, which only a twin of ours could, finds it
        gone and writes it again.
        """
        self._boot = boot or self._boot
        is_sound = self._is_of_this_boot()
        for file in self._files():
            if not is_sound or "." in file.name:
                file.unlink(missing_ok=True)
        _write_through(self._mark, self._boot)
        self._is_swept = True
        self._count()

    def put_blob(self, digest: bytes, body: bytes) -> None:
        """Hold what is made of a window until its end.

        Raises:
            SpoolFull: the disk has no room.
        """
        try:
            _write(f"{self._prefix}/blobs/{digest.hex()}", body)
        except OSError as error:
            raise SpoolFull(f"the payload store {self._folder} cannot be written: {error}") from error

    def blobs(self) -> list[str]:
        """The names of all blobs that are here, finished or not."""
        return [file.name for file in _listed(self._blobs)]

    def discard_blobs(self, names: Iterable[str]) -> None:
        """The windows that these were made of have ended: hold them no longer."""
        for name in names:
            (self._blobs / name).unlink(missing_ok=True)

    def _is_of_this_boot(self) -> bool:
        """Whether the payloads here were written after this start of the machine; asked of the disk until they were."""
        self._is_swept = _read(str(self._mark)) in {None, self._boot.encode()}
        return self._is_swept

    def _files(self) -> Iterator[Path]:
        """Every payload's file, and those that are not finished."""
        for folder in _listed(self._folder):
            if len(folder.name) == _DIGITS:
                yield from _listed(folder)

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
        """Look at what lies there: another process may have put or discarded, too."""
        found = {file.name: _size(str(file)) for file in self._files()}
        with self._counting:
            self._sizes, self._used = found, sum(found.values())


def _boot() -> str:
    """Which start of this machine this is; the same one for ever where it does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def _listed(folder: Path) -> list[Path]:
    """What is in the folder; nothing if it is none, or somebody has removed it."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


# The system's own calls, because a file object costs half as much again as what it does with 50 kB.


def _read(path: str) -> bytes | None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        size = os.fstat(file).st_size
        found = os.read(file, size)
        while len(found) < size and (more := os.read(file, size - len(found))):
            found += more
        return found
    finally:
        os.close(file)


def _write(path: str, body: bytes | memoryview) -> None:
    """Have `body` lie at `path`, whole or not at all."""
    writing = f"{path}.{os.getpid()}.{threading.get_ident()}"
    try:
        _fill(writing, body)
    except FileNotFoundError:  # the first one of its folder, or somebody has removed it
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _fill(writing, body)
    with failpoint("spool-rename"):
        os.replace(writing, path)


def _write_through(path: Path, text: str) -> None:
    """Have `text` lie at `path`, whole or not at all, and on the disk before anything that is written after it."""
    writing = path.with_name(f"{path.name}.{os.getpid()}")
    _fill(str(writing), text.encode())
    _sync(writing)
    writing.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Have the disk hold this file or folder as it is now."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _fill(path: str, body: bytes | memoryview) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        written = os.write(file, body)
        while written < len(body):  # a full disk says so only when it has taken what it can
            written += os.write(file, memoryview(body)[written:])
    finally:
        os.close(file)


def _size(path: str) -> int:
    """How long the file is; 0 if there is none, or another thread has just removed it."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
