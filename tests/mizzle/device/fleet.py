"""Devices that run in threads of a test, on any bus, each in a home of its own."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from mizzle.device.home import OUTBOX
from mizzle.device.task import Task
from mizzle.device.train import Device
from mizzle.transport.bus import Bus, Will
from tests.mizzle.transport.worlds import PATIENCE_S, World


class Running:
    """A device that runs inside the context; what it raises, the context raises."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.device.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            self.device.run()
        except BaseException as error:  # noqa: BLE001  # it is raised again where the test can see it
            self._error = error


def device_in(world: World, home: Path, token: str | None) -> Device:
    """A device on this world's broker; it adds 0.25 to the first weight."""
    device = Device("mqtt://127.0.0.1:1", home, token=token)

    def connect(name: str, will: Will | None) -> Bus:
        return world.bus(name, will=will)

    @device.train
    def train(task: Task) -> object:
        task.weights["weight"][0, 0] += 0.25
        return task.weights

    device.connect = connect
    return device


def receipts(home: Path) -> list[tuple[bytes, int]]:
    """Update and window of each receipt in the outbox, as an independent reader sees them."""
    return _rows(home, "SELECT id, window FROM receipts ORDER BY number")


def waiting(home: Path) -> list[tuple[bytes, int]]:
    """Update and window of all that waits."""
    return _rows(home, "SELECT id, window FROM waiting ORDER BY number")


def sends(home: Path) -> int:
    """How often an update was sent."""
    return len(_rows(home, "SELECT id, at FROM sent"))


def _rows(home: Path, query: str) -> list[tuple[bytes, int]]:
    with closing(sqlite3.connect(home / OUTBOX)) as store:
        return store.execute(query).fetchall()
