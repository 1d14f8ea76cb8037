"""The parts of updates that are not complete, as they came: a file for each device, written before acknowledging.

A file holds the parts of one update one after the other, each behind its length (4 bytes, big-endian), the first part
first. What a kill cut short at its end is no part and is written over. Nothing is synced to the disk by itself: a host
that loses power may lose parts, and a device is asked for them again.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from mizzle.parts import CHUNK
from services.runtime.payloads import SpoolFull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.gateway.receive import Part

_LENGTH: Final = struct.Struct(">I")
_MOST: Final = CHUNK + 8192
"""An envelope has 4,196 bytes at most, a later part 36 before its chunk."""


class Comings:
    """What lies in `folder`; there is one gateway, and one thread of it, that writes there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._ends: dict[str, int] = {}

    def resume(self, take: Callable[[str, Iterator[bytes]], bool]) -> None:
        """Give each device's parts to `take`, and remove those of which it makes nothing."""
        for file in sorted(self._folder.iterdir()):
            device = file.name
            if take(device, self._parts(device)):
                self._ends.setdefault(device, 0)
            else:
                self._ends.pop(device, None)
                file.unlink()

    def add(self, part: Part) -> None:
        """Store a part behind those before it; one whose update was forgotten meanwhile is none any more.

        Raises:
            SpoolFull: the disk takes no more.
        """
        start = 0 if part.begins else self._ends.get(part.device)
        if start is None:
            return
        record = _LENGTH.pack(len(part.body)) + part.body
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if part.begins else 0)
        try:
            file = os.open(self._folder / part.device, flags, 0o600)
            try:
                written = os.pwrite(file, record, start)
            finally:
                os.close(file)
        except OSError as error:  # a full disk, as a rule; or somebody has removed the folder
            with suppress(OSError):
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            raise SpoolFull(f"a part cannot be written to {self._folder}: {error}") from error
        if written < len(record):
            raise SpoolFull(f"of a part of {len(record)} bytes the disk of {self._folder} took {written}")
        self._ends[part.device] = start + len(record)

    def end(self, *devices: str) -> None:
        """Nothing that came of these devices' updates is kept any longer."""
        for device in devices:
            if self._ends.pop(device, None) is not None:
                with suppress(FileNotFoundError):
                    (self._folder / device).unlink()

    def _parts(self, device: str) -> Iterator[bytes]:
        """The whole parts in the device's file; what comes after the last one taken from here is written over."""
        with (self._folder / device).open("rb") as file:
            while len(prefix := file.read(_LENGTH.size)) == _LENGTH.size:
                (length,) = _LENGTH.unpack(prefix)
                body = file.read(length) if length <= _MOST else b""
                if len(body) < length or length > _MOST:
                    return
                yield body
                self._ends[device] = file.tell()
