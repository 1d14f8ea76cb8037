"""A device's folder: its outbox, and beside it the key that never leaves the device, for one process at a time."""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from mizzle.envelope import Key
from mizzle.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OUTBOX: Final = "outbox.db"
KEY: Final = "key"
PASSWORD: Final = "broker-password"  # noqa: S105  # the name of the file that holds it

_SEED_BYTES: Final = 32


@contextmanager
def claimed(home: Path) -> Iterator[Path]:
    """The folder `home`, made if it is not there, while no other device runs in it.

    Raises:
        Misconfigured: it cannot be made or written, or another device runs in it.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(home / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Misconfigured(f"MIZZLE_HOME is a folder that may be written; {home} is not: {error}") from error
    try:
        _lock(lock, home)
        yield home
    finally:
        os.close(lock)


def signing_key(home: Path) -> Key:
    """The device's own key, made if there is none; only in a claimed home.

    Raises:
        Misconfigured: the file holds no key, or others may read it.
    """
    path = home / KEY
    if not path.exists():
        _write(path, secrets.token_bytes(_SEED_BYTES))
    _refuse_readable(path, "key")
    seed = path.read_bytes()
    if len(seed) != _SEED_BYTES:
        raise Misconfigured(
            f"a key is {_SEED_BYTES} bytes, {path} has {len(seed)}: restore it, or enrol in an empty MIZZLE_HOME"
        )
    return Key(seed)


def keep_password(home: Path, password: str) -> None:
    """Keep the password for the broker, in place of an older one; only in a claimed home."""
    path = home / PASSWORD
    if not path.exists() or path.read_text() != password:
        _write(path, password.encode("ascii"))


def kept_password(home: Path) -> str | None:
    """The password for the broker; None if none was kept, as in a home from before there were any.

    Raises:
        Misconfigured: others may read the file.
    """
    path = home / PASSWORD
    if not path.exists():
        return None
    _refuse_readable(path, "password")
    return path.read_text()


def _lock(lock: int, home: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Misconfigured(f"another device runs in {home}: stop it, or give this one another MIZZLE_HOME") from error


def _refuse_readable(path: Path, what: str) -> None:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise Misconfigured(f"only this device may read its {what}; {path} has mode {mode:04o}: chmod 600 {path}")


def _write(path: Path, body: bytes) -> None:
    """Write a file for this device alone, so that a loss of power leaves all of it or what was there."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    file = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, body)
        os.fsync(file)
    finally:
        os.close(file)
    new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
