"""A device that takes a PUBACK for a promise: it forgets its update as soon as the broker has it. It must not be so."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

import mizzle
from mizzle import topics
from mizzle.device.task import Task
from mizzle.transport.bus import Bus, BusEvent, Listener, Sent, Will
from mizzle.transport.mqtt_bus import MqttBus

device = mizzle.Device.from_env()


class TrustingBus(MqttBus):
    """A line that tells its owner nothing new, and clears the outbox when the broker has taken an update."""

    def open(self, listener: Listener) -> None:
        """Open the line, and listen first."""

        def listen(event: BusEvent) -> None:
            if isinstance(event, Sent) and event.reason == 0 and topics.parse_up(event.topic).kind == topics.Up.UPDATE:
                forget(device.home / "outbox.db")
            listener(event)

        super().open(listen)


def forget(outbox: Path) -> None:
    """Clear what was sent."""
    with closing(sqlite3.connect(outbox, isolation_level=None, timeout=30)) as store:
        store.execute("DELETE FROM waiting WHERE id IN (SELECT id FROM sent)")


def trusting(name: str, will: Will | None) -> Bus:
    """The line of such a device."""
    return TrustingBus(device.broker, name, password=device.password, will=will, max_backoff_s=1.0)


device.connect = trusting


@device.train
def train(task: Task) -> dict[str, Any]:
    """As a novice does."""
    if Path(mizzle.environment()["MIZZLE_NOVICE_REST"]).exists():
        raise mizzle.Decline("resting")
    return {name: weight + np.float32(0.05) for name, weight in task.weights.items()}


device.run()
