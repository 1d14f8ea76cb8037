"""Whether a device is fit to train: what a plan's [train] table asks for, against what the device senses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mizzle.device.events import Condition
    from mizzle.plan import Setting

LEAST_BATTERY: Final = "least_battery"
"""The setting that names the share of a full battery below which nothing is trained."""

MOST_CELSIUS: Final = "most_celsius"
"""The setting that names the temperature above which nothing is trained."""


def unfit(settings: Mapping[str, Setting], condition: Condition) -> str | None:
    """Why the device should not train now, as a `Word`; None if it may: a sensor that is not there hinders nothing."""
    least, most = settings.get(LEAST_BATTERY), settings.get(MOST_CELSIUS)
    if condition.battery is not None and isinstance(least, int | float) and condition.battery < least:
        return "battery"
    if condition.temperature is not None and isinstance(most, int | float) and condition.temperature > most:
        return "heat"
    return None
