"""Who may connect to the broker: accounts with passwords in mosquitto's file.

A line is `NAME:$7$ITERATIONS$SALT$KEY`: PBKDF2 with HMAC-SHA-512, 12 bytes of salt, 64 of key, both in base64, as
mosquitto_passwd writes it. Whoever reads the file learns no password. The broker reads it when it starts, and again
when it is told to (SIGHUP).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from base64 import b64decode, b64encode
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mizzle.errors import Misconfigured
from services.ledger.private import write_private

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SERVICES: Final = frozenset({"gateway", "gateway-delivery", "health", "reader"})
"""Accounts that are no device's: what the access rules grant to them, no token may grant to anybody."""

ITERATIONS: Final = 101
"""What mosquitto_passwd does too: many would slow a fleet's return, and 128 random bits cannot be guessed anyway."""

_SALT_BYTES, _KEY_BYTES = 12, 64


def entry(name: str, password: str, salt: bytes) -> str:
    """The line, without its end, that lets `name` in with `password`."""
    return f"{name}:$7${ITERATIONS}${b64encode(salt).decode()}${b64encode(_key(password, salt, ITERATIONS)).decode()}"


def matches(line: str, password: str) -> bool:
    """Whether this line of the file is of that password."""
    _, kind, iterations, salt, key = line.split("$")
    return kind == "7" and _key(password, b64decode(salt), int(iterations)) == b64decode(key)


def admit(file: Path, passwords: Mapping[str, str]) -> None:
    """Let these names in with these passwords, the older ones of the same names no longer; others stay as they are.

    The file is replaced as a whole, so that neither the broker nor a loss of power sees half of it.

    Raises:
        Misconfigured: the file cannot be read or written.
    """
    try:
        with _alone(file):
            lines = _lines(file)
            for name, password in passwords.items():
                if name not in lines or not matches(lines[name], password):
                    lines[name] = entry(name, password, os.urandom(_SALT_BYTES))
            write_private(file, "".join(f"{line}\n" for line in lines.values()))
    except OSError as error:
        raise Misconfigured(f"{file} is to hold the broker's passwords and cannot be written: {error}") from error


def _lines(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    return {line.partition(":")[0]: line for line in file.read_text(encoding="utf-8").splitlines() if line}


def _key(password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, _KEY_BYTES)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """One writer at a time: each of two operators' commands adds its line."""
    lock = os.open(file.with_name(f"{file.name}.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
