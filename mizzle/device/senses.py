"""What a Linux device can sense of itself, from the files of its kernel; None where there is no such sensor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mizzle.device.events import Condition

if TYPE_CHECKING:
    from collections.abc import Iterator

Link = Literal["ethernet", "wifi", "cellular", "lora"]

_CELLULAR = ("wwan", "ppp", "rmnet")


def sensed(examples: int, root: Path = Path("/")) -> Condition:
    """How the device is now, in steps coarse enough that not every breath is news."""
    return Condition(examples=examples, battery=_battery(root), temperature=_temperature(root), link=_link(root))


def _battery(root: Path) -> float | None:
    """The emptiest battery, as a share of one in steps of 5 %."""
    supplies = (root / "sys/class/power_supply").glob("*")
    shares = [
        share for supply in supplies if _text(supply / "type") == "Battery" for share in _numbers(supply / "capacity")
    ]
    return round(min(max(min(shares), 0.0), 100.0) / 5) / 20 if shares else None


def _temperature(root: Path) -> float | None:
    """The hottest zone, in whole degrees Celsius."""
    zones = (root / "sys/class/thermal").glob("thermal_zone*/temp")
    degrees = [milli / 1000 for zone in zones for milli in _numbers(zone)]
    return float(round(min(max(*degrees, -100.0), 200.0))) if degrees else None


def _link(root: Path) -> Link | None:
    """What kind of interface the default route leads over."""
    for line in (_text(root / "proc/net/route") or "").splitlines()[1:]:
        name, destination = line.split()[:2]
        if destination == "00000000":
            return _kind(root, name)
    return None


def _kind(root: Path, name: str) -> Link:
    if (root / "sys/class/net" / name / "wireless").exists():
        return "wifi"
    return "cellular" if name.startswith(_CELLULAR) else "ethernet"


def _numbers(path: Path) -> Iterator[float]:
    """The number in a file, or nothing."""
    try:
        yield float(_text(path) or "")
    except ValueError:
        return


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):  # a sensor that goes away is as good as none
        return None
