"""A TCP proxy that can lose the network: what goes through is passed on, held back, delayed, lost or cut off.

It stands between clients and one server, in a thread of its own. While it holds, clients hear the server but are not
heard, or the other way round; while it is cut, every connection is gone, what was held is lost, and new ones are
refused. What else may befall bytes is its `Weather`.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum, auto
from types import TracebackType
from typing import Any, Self

from services.local.waiting import free_port
from services.local.wire import Weather, Wire


class Mode(Enum):
    """What happens to connections: HOLD keeps what clients send, HOLD_ANSWERS what the server says."""

    PASS_ON = auto()
    HOLD = auto()
    HOLD_ANSWERS = auto()
    CUT = auto()


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went through so far: connections open now, bytes received from clients, and bytes passed on either way."""

    connections: int = 0
    from_clients: int = 0
    to_server: int = 0
    to_clients: int = 0


class FaultProxy:
    """The way to the server at `target_port`, by `port`; open inside the context, and safe to use from any thread."""

    def __init__(self, target_port: int, *, port: int | None = None, delay_s: float = 0.0) -> None:
        self.port = port or free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"faults-{self.port}", daemon=True)
        self._tally = _Tally()
        self._wire = Wire(self.port, target_port, self._tally.add)
        self._first = Weather(up_s=delay_s, down_s=delay_s)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._wire.open())
        self.befall(self._first)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._wire.cut(reset=False))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def traffic(self) -> Traffic:
        """What went through so far."""
        return self._tally.traffic

    def switch(self, mode: Mode, *, reset: bool = True) -> None:
        """Change what happens to bytes, from now on; a cut closes with RST, or with FIN if not `reset`.

        What was held is sent when the mode becomes PASS_ON, in order.
        """
        match mode:
            case Mode.PASS_ON:
                self._run(self._wire.open())
            case Mode.HOLD:
                self._run(self._wire.hold(clients=True, server=False))
            case Mode.HOLD_ANSWERS:
                self._run(self._wire.hold(clients=False, server=True))
            case Mode.CUT:
                self._run(self._wire.cut(reset=reset))

    def delay(self, delay_s: float) -> None:
        """Let every byte that comes in from now on, either way, travel for this long."""
        self.befall(Weather(up_s=delay_s, down_s=delay_s))

    def befall(self, weather: Weather) -> None:
        """Have this weather from now on, in place of the one before; `Weather()` is a fair one."""
        self._run(self._wire.change(weather))

    def wait_until(self, condition: Callable[[Traffic], bool], timeout_s: float = 10.0) -> Traffic:
        """The first traffic seen that fulfils the condition; TimeoutError after `timeout_s`."""
        return self._tally.wait_until(condition, timeout_s)

    def _run(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(timeout=10)


class _Tally:
    """The traffic so far, counted by the loop and awaited by other threads."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self._changed = threading.Condition()

    def add(self, *, connections: int = 0, from_clients: int = 0, to_server: int = 0, to_clients: int = 0) -> None:
        with self._changed:
            past = self.traffic
            self.traffic = Traffic(
                past.connections + connections,
                past.from_clients + from_clients,
                past.to_server + to_server,
                past.to_clients + to_clients,
            )
            self._changed.notify_all()

    def wait_until(self, condition: Callable[[Traffic], bool], timeout_s: float) -> Traffic:
        with self._changed:
            if self._changed.wait_for(lambda: condition(self.traffic), timeout_s):
                return self.traffic
        raise TimeoutError(f"the traffic waited for did not come within {timeout_s} s; so far it is {self.traffic}")
