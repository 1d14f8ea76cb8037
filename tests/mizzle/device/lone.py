"""A device as a program of its own: `python -m tests.mizzle.device.lone`."""

import mizzle

device = mizzle.Device.from_env()


@device.train
def train(task: mizzle.device.task.Task) -> object:
    task.weights["weight"] += 0.25
    return task.weights


device.run()
