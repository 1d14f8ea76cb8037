"""Mizzle: federated learning for fleets of devices that come and go.

Importing it loads nothing else: each name below brings what it needs when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mizzle.device.environment import environment
    from mizzle.device.task import Decline
    from mizzle.device.train import Device
    from mizzle.releases import follow

__all__ = ["Decline", "Device", "environment", "follow"]

_HOMES = {
    "Decline": "mizzle.device.task",
    "Device": "mizzle.device.train",
    "environment": "mizzle.device.environment",
    "follow": "mizzle.releases",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  # whatever the name stands for
    if name not in _HOMES:
        raise AttributeError(f"module 'mizzle' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
