"""What the commands of the bench share: how they end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from mizzle.errors import Away, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable

FAILED: Final = 1
MISCONFIGURED: Final = 3


def status(command: Callable[..., int | None]) -> int:
    """Run a command of Typer's, and give its exit status: 0, 1 failed, 3 configuration."""
    try:
        return int(command(standalone_mode=False) or 0)
    except Misconfigured as wrong:
        typer.echo(str(wrong), err=True)
        return MISCONFIGURED
    except (Away, RuntimeError) as failed:
        typer.echo(str(failed), err=True)
        return FAILED
