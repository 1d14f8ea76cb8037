"""The settings of the device that asks: the process's own, or those of one of many devices within one process."""

import os
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

ENVIRONMENT: Final[ContextVar[Mapping[str, str] | None]] = ContextVar("ENVIRONMENT", default=None)
"""Set it in a device's own thread, and `environment` gives this instead of the process's environment."""


def environment() -> Mapping[str, str]:
    """The environment variables of the device that runs in this context."""
    own = ENVIRONMENT.get()
    return os.environ if own is None else own
