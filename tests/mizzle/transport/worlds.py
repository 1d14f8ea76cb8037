"""A broker with clients whose lines can be cut: a real one behind fault proxies, or the one in memory."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Protocol, TypeVar, cast

from mizzle.transport.bus import Bus, Will
from mizzle.transport.memory import MemoryBroker, MemoryBus
from mizzle.transport.mqtt_bus import MqttBus
from services.local.faults import FaultProxy, Mode

PATIENCE_S = 8.0

E = TypeVar("E")


class Heard:
    """A listener that keeps what it is told, in order, until somebody asks for it."""

    def __init__(self) -> None:
        self._events: list[object] = []
        self._changed = threading.Condition()

    def __call__(self, event: object) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def next(self, kind: type[E], such: Callable[[E], bool] = lambda _: True) -> E:
        """The oldest event of this kind for which `such` holds; nobody gets it twice."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._first(kind, such) is not None, PATIENCE_S):
                raise TimeoutError(f"no such {kind.__name__} came, only {self._events}")
            found = self._first(kind, such)
            assert found is not None
            return cast("E", self._events.pop(found))

    def so_far(self, kind: type[E]) -> list[E]:
        """All events of this kind that have come and that nobody took."""
        with self._changed:
            found: list[E] = [event for event in self._events if isinstance(event, kind)]
            self._events = [event for event in self._events if not isinstance(event, kind)]
            return found

    def _first(self, kind: type[E], such: Callable[[E], bool]) -> int | None:
        fits = (index for index, event in enumerate(self._events) if isinstance(event, kind) and such(event))
        return next(fits, None)


class World(Protocol):
    """A broker and the lines to it."""

    complete: bool
    """Whether it does all of MQTT 5; iotcore knows no session expiry and retains no will (FACTS 10)."""

    def bus(
        self,
        client_id: str,
        *,
        will: Will | None = None,
        session_expiry_s: int = 60,
        receive_maximum: int = 100,
        manual_ack: bool = False,
    ) -> Bus:
        """A line of its own, not yet open."""

    def cut(self, client_id: str) -> None:
        """Lose the client's line, until `mend`."""

    def mend(self, client_id: str) -> None:
        """Let it come back."""


class MemoryWorld:
    """The broker in memory."""

    complete = True

    def __init__(self) -> None:
        self._broker = MemoryBroker()

    def bus(self, client_id: str, **wishes: Any) -> Bus:
        return MemoryBus(self._broker, client_id, **wishes)

    def cut(self, client_id: str) -> None:
        self._broker.cut(client_id)

    def mend(self, client_id: str) -> None:
        self._broker.mend(client_id)


class MqttWorld:
    """A real broker at `port`, each client behind a proxy of its own."""

    def __init__(self, port: int, stack: ExitStack, *, complete: bool) -> None:
        self.complete = complete
        self._port, self._stack = port, stack
        self._proxies: dict[str, FaultProxy] = {}

    def bus(self, client_id: str, **wishes: Any) -> Bus:
        if client_id not in self._proxies:
            self._proxies[client_id] = self._stack.enter_context(FaultProxy(self._port))
        bus = MqttBus(f"mqtt://127.0.0.1:{self._proxies[client_id].port}", client_id, max_backoff_s=0.2, **wishes)
        self._stack.callback(bus.close)
        return bus

    def cut(self, client_id: str) -> None:
        self._proxies[client_id].switch(Mode.CUT)

    def mend(self, client_id: str) -> None:
        self._proxies[client_id].switch(Mode.PASS_ON)
