"""A device that trains with torch, whole. From a checkout: `python -m examples.device_torch`."""

import torch

import mizzle
from examples.watch import tensors

net = torch.nn.Sequential(torch.nn.Linear(36, 64), torch.nn.ReLU(), torch.nn.Linear(64, 7))
device = mizzle.Device.from_env()


@device.train
def train(task):
    task.load_into(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=task.settings["learning_rate"])
    for inputs, labels in task.batches(*tensors()):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(inputs), labels).backward()
        optimizer.step()
    return net


device.run()
