"""A password as a file that holds one line, so that no environment, address or list of processes shows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from mizzle.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE: Final = "MIZZLE_BROKER_PASSWORD_FILE"


def read(path: Path, variable: str = VARIABLE) -> str:
    """The password in the file `path`, which `variable` has named.

    Raises:
        Misconfigured: the file cannot be read, or holds none.
    """
    try:
        password = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{variable} is a file that holds a password; {path} cannot be read: {error}") from error
    if not password:
        raise Misconfigured(f"{variable} is a file that holds a password; {path} is empty: write it there")
    return password


def broker_password(environment: Mapping[str, str]) -> str | None:
    """The password for the broker that MIZZLE_BROKER_PASSWORD_FILE names; None if it is not set.

    Raises:
        Misconfigured: as `read`.
    """
    return read(Path(named)) if (named := environment.get(VARIABLE)) else None
