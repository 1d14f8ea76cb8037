"""The federation's private keys: one file per role, a seed of 64 hexadecimal digits that only its owner may read.

A founding drafts them in a folder below, and adopts them once the ledger names them: one that is cut off in the middle
leaves keys that have signed nothing, and the next one makes others.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, get_type_hints

from mizzle.envelope import Key
from mizzle.errors import Misconfigured
from mizzle.messages import ServerKey
from services.ledger.private import sync, write_private

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROLES: Final[tuple[str, ...]] = get_type_hints(ServerKey)["role"].__args__
DRAFT: Final = "draft"


def draft(folder: Path) -> dict[str, Key]:
    """A new key of every role, which is the federation's once it is adopted; drafts of an earlier founding go.

    Raises:
        Misconfigured: a key is there already; it is never replaced.
    """
    for role in ROLES:
        if (path := _path(folder, role)).exists():
            raise Misconfigured(f"{path} is there already: keys are never replaced, choose another folder")
    (folder / DRAFT).mkdir(parents=True, exist_ok=True, mode=0o700)
    return {role: _made(_path(folder / DRAFT, role)) for role in ROLES}


def adopt(folder: Path, public_keys: Mapping[str, bytes]) -> None:
    """Take over from the drafts the keys that the ledger names, by role; those that were taken over stay."""
    for role in ROLES:
        drafted = _path(folder / DRAFT, role)
        if drafted.exists() and read(folder / DRAFT, role).public_key == public_keys[role]:
            drafted.replace(_path(folder, role))
    sync(folder)


def copy(folder: Path, role: str, into: Path) -> None:
    """Have the key of this role, and no older one, in the folder `into` as well.

    Raises:
        Misconfigured: as `read`.
    """
    read(folder, role)
    into.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(_path(into, role), _path(folder, role).read_text())


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
    write_private(path, f"{seed.hex()}\n")
    return Key(seed)
