"""Threads beside a service's loop: they are told when it ends, and if one falls the process is to end with it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    Companion = Callable[[Callable[[], bool]], None]

_GRACE_S = 5.0

_log = structlog.get_logger()


class Companions:
    """Works in threads of their own, until the context is left; each is given a way to ask whether it is to stop."""

    def __init__(self, *works: Companion) -> None:
        self._stopping = threading.Event()
        self._fallen = threading.Event()
        self._threads = [threading.Thread(target=self._live, args=(work,), daemon=True) for work in works]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(_GRACE_S)

    def one_has_fallen(self) -> bool:
        """Whether one of them has ended although nobody told it to."""
        return self._fallen.is_set()

    def _live(self, work: Companion) -> None:
        try:
            work(self._stopping.is_set)
        except Exception:  # noqa: BLE001  # the thread's edge: `one_has_fallen` ends the process
            _log.exception("a thread has fallen: the process ends")
        if not self._stopping.is_set():
            self._fallen.set()
