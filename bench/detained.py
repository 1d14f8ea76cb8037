"""A device of `bench.rejoin`, as its owner would write it: it learns next to nothing, and takes its time for it.

Each task says so with a JSON line, and is done when nobody holds the file that DETAINED_BY names: its line can be cut
in between, so that a device has trained and cannot send. To be run by `services.local.fleet`.
"""

from __future__ import annotations

import fcntl
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import mizzle
from mizzle.device.environment import environment

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

device = mizzle.Device.from_env()


@device.train
def train(task: mizzle.Task) -> dict[str, npt.NDArray[np.float32]]:
    """Come a little nearer to one."""
    given = environment()
    sys.stdout.write(json.dumps({"event": "trains", "device": given["MIZZLE_DEVICE"], "window": task.window}) + "\n")
    sys.stdout.flush()
    with Path(given["DETAINED_BY"]).open() as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)
    return {"weight": task.weights["weight"] + task.settings["learning_rate"] * (1 - task.weights["weight"])}


device.run()
