"""The same device with numpy alone, where torch does not fit. From a checkout: `python -m examples.device_numpy`."""

import numpy as np

import mizzle
from examples.watch import arrays

device = mizzle.Device.from_env()


@device.train
def train(task):
    w1, b1, w2, b2 = (task.weights[name] for name in ("0.weight", "0.bias", "2.weight", "2.bias"))
    for inputs, labels in task.batches(*arrays()):
        hidden = np.maximum(inputs @ w1.T + b1, 0)
        odds = np.exp(hidden @ w2.T + b2)
        step = task.settings["learning_rate"] / len(labels) * (np.eye(7)[labels] - odds / odds.sum(1, keepdims=True))
        back = step @ w2 * (hidden > 0)
        w1, b1, w2, b2 = w1 + back.T @ inputs, b1 + back.sum(0), w2 + step.T @ hidden, b2 + step.sum(0)
    return {"0.weight": w1, "0.bias": b1, "2.weight": w2, "2.bias": b2}


device.run()
