"""Which weight of a one-hot device moves, and by how much."""

from typing import Final

HOT: Final = 255 / 256
"""With the largest level of 8 bits it has no remainder on a grid whose unit is a power of two: it is sent as it is."""


def place(device: str) -> int:
    """The weight that moves at this device, by the number at the end of its name."""
    return int(device.rpartition("-")[2])
