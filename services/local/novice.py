"""A device with next to nothing to learn: it moves every weight a little, by chance, and is done at once.

Chaos wants many windows, not a model. Once the file that its setting MIZZLE_NOVICE_REST names is there, it declines.
"""

from pathlib import Path
from typing import Any

import numpy as np

import mizzle
from mizzle.device.task import Task

device = mizzle.Device.from_env()


@device.train
def train(task: Task) -> dict[str, Any]:
    """A step of about the length at which an update is clipped, in no direction."""
    if Path(mizzle.environment()["MIZZLE_NOVICE_REST"]).exists():
        raise mizzle.Decline("resting")
    chance = np.random.default_rng()
    return {name: weight + chance.normal(0.0, 0.05, weight.shape) for name, weight in task.weights.items()}


device.run()
