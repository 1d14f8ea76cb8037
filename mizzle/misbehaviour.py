"""Plug-ins at work: whatever goes wrong inside of one becomes `Misbehaved`, at the place where it was asked.

A plug-in is somebody else's program in a service of ours, and everybody waits for that service. So its faults end what
it was asked about, an update or a window, and nothing else (I8).
"""

from __future__ import annotations

import traceback
from pathlib import PurePath
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from mizzle.errors import Misbehaved

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


def asked(who: str, question: Callable[P, T], *about: P.args, **more: P.kwargs) -> T:
    """What the plug-in `who` answers.

    Raises:
        Misbehaved: it raised something, even what else would stop or begin again the service.
    """
    try:
        return question(*about, **more)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # another's program, and a panic of its compiled code: all ends in this answer
        raise Misbehaved(f"{who} raised {fault(error)}") from error


def fault(error: BaseException) -> str:
    """The kind of an exception and where it was raised.

    Not what it says: that may hold something of what a device sent, and whatever a log or a receipt says is a release
    (I23).
    """
    innermost = traceback.extract_tb(error.__traceback__)[-1:]
    return "".join([type(error).__name__, *(f" at {PurePath(at.filename).name}:{at.lineno}" for at in innermost)])
