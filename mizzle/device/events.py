"""What a device's session is told; `Tick` comes before each of them, so that it knows the time and has fresh chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mizzle.moves import Tick
from mizzle.transport.bus import Arrived, Connected, Disconnected, Sent


@dataclass(frozen=True)
class Condition:
    """How the device is: what it senses is None where it has no sensor. `battery` is a share of one."""

    examples: int = 0
    battery: float | None = None
    temperature: float | None = None
    link: Literal["ethernet", "wifi", "cellular", "lora"] | None = None


@dataclass(frozen=True)
class Trained:
    """The task of this window is done, and this is its update, coded; `lost` is for the next one to make up for."""

    window: int
    payload: bytes
    lost: bytes = b""


@dataclass(frozen=True)
class Declined:
    """The task of this window will not be done; the reason is a `Word`."""

    window: int
    reason: str


@dataclass(frozen=True)
class Kept:
    """This update of `size` bytes is in the outbox, and would survive a loss of power."""

    id: bytes
    size: int


@dataclass(frozen=True)
class Full:
    """The outbox has no room for this window's update; it is lost."""

    window: int
    why: str


@dataclass(frozen=True)
class Cleared:
    """The outbox has this update's receipt and no longer the update."""

    id: bytes


@dataclass(frozen=True)
class Stop:
    """The device is about to go, and wants to say so."""


Event = Connected | Disconnected | Arrived | Sent | Tick | Condition | Trained | Declined | Kept | Full | Cleared | Stop
