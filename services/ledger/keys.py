"""The federation's private keys: one file per role, a seed of 64 hexadecimal digits that only its owner may read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, get_type_hints

from mizzle.envelope import Key
from mizzle.errors import Misconfigured
from mizzle.messages import ServerKey

if TYPE_CHECKING:
    from pathlib import Path

ROLES: Final[tuple[str, ...]] = get_type_hints(ServerKey)["role"].__args__


def make(folder: Path) -> dict[str, Key]:
    """A new key of every role, written into `folder`.

    Raises:
        Misconfigured: one is there already; a key is never replaced.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return {role: _made(_path(folder, role)) for role in ROLES}


def read(folder: Path, role: str) -> Key:
    """The key of this role in `folder`.

    Raises:
        Misconfigured: there is none, or the file holds something else.
    """
    path = _path(folder, role)
    try:
        seed = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{path} is to hold the {role} key, 64 hexadecimal digits: {error}") from error
    if len(seed) != 32:  # noqa: PLR2004  # Ed25519
        raise Misconfigured(f"{path} is to hold the {role} key, 64 hexadecimal digits; it holds {2 * len(seed)}")
    return Key(seed)


def _path(folder: Path, role: str) -> Path:
    return folder / f"{role}.key"


def _made(path: Path) -> Key:
    seed = os.urandom(32)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Misconfigured(f"{path} is there already: keys are never replaced, choose another folder") from error
    with os.fdopen(file, "w") as writing:
        writing.write(seed.hex() + "\n")
        writing.flush()
        os.fsync(writing.fileno())
    return Key(seed)
