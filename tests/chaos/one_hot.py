"""A device that learns the same each time: one weight, its own, moves, and always by as much.

Once the file that MIZZLE_NOVICE_REST names is there, it declines.
"""

from pathlib import Path
from typing import Any

import mizzle
from mizzle.device.task import Task
from tests.chaos.hot import HOT, place

device = mizzle.Device.from_env()


@device.train
def train(task: Task) -> dict[str, Any]:
    """The weights, and at our place a little more."""
    settings = mizzle.environment()
    if Path(settings["MIZZLE_NOVICE_REST"]).exists():
        raise mizzle.Decline("resting")
    moved = {name: weight.copy() for name, weight in task.weights.items()}
    moved["w"][place(settings["MIZZLE_HOME"])] += HOT
    return moved


device.run()
