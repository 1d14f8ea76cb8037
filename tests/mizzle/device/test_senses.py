"""What a device senses of itself."""

from pathlib import Path

import pytest

from mizzle.device.events import Condition
from mizzle.device.senses import sensed


def machine(root: Path, **files: str) -> Path:
    """A machine with these files of its kernel; `__` in a name is a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def route(interface: str) -> str:
    return f"Iface\tDestination\tGateway\n{interface}\t0000FEA9\t0\n{interface}\t00000000\t0101A8C0\n"


def test_a_machine_without_sensors_senses_nothing(tmp_path: Path) -> None:
    assert sensed(30, tmp_path) == Condition(examples=30)


def test_the_emptiest_battery_counts_in_steps_of_a_twentieth(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        sys__class__power_supply__BAT0__type="Battery\n",
        sys__class__power_supply__BAT0__capacity="83\n",
        sys__class__power_supply__BAT1__type="Battery\n",
        sys__class__power_supply__BAT1__capacity="47\n",
        sys__class__power_supply__AC__type="Mains\n",
        sys__class__power_supply__AC__capacity="1\n",
    )
    assert sensed(0, root).battery == 0.45


def test_the_hottest_zone_counts_in_whole_degrees(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        sys__class__thermal__thermal_zone0__temp="41500\n",
        sys__class__thermal__thermal_zone1__temp="52700\n",
        sys__class__thermal__thermal_zone2__temp="broken\n",
    )
    assert sensed(0, root).temperature == 53.0


@pytest.mark.parametrize(("interface", "link"), [("wlan0", "wifi"), ("eth0", "ethernet"), ("wwan0", "cellular")])
def test_the_link_is_that_of_the_default_route(tmp_path: Path, interface: str, link: str) -> None:
    root = machine(tmp_path, proc__net__route=route(interface), sys__class__net__wlan0__wireless__x="")
    assert sensed(0, root).link == link
