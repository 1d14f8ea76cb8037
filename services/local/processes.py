"""Servers and services as children of this process, by name: started, started again when they fall, ended in order."""

import math
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from services.local.child import Child, spawn, wait_for_any

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
STEADY_S = 10.0  # a child that lived this long was well: its next fall is a first one again


@dataclass(frozen=True, slots=True)
class _Place:
    """What is to run under a name, and how it went so far."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    keep: bool
    child: Child
    began: float
    falls: int = 0
    due: float | None = None
    told: bool = False

    def fallen(self, now: float) -> Self:
        """The place after its child's end, to be filled again after a pause that doubles with every quick fall."""
        falls = 1 if now - self.began > STEADY_S else self.falls + 1
        pause = min(FIRST_PAUSE_S * 2.0 ** (falls - 1), LONGEST_PAUSE_S)
        return replace(self, told=True, falls=falls, due=now + pause if self.keep else None)


class Processes:
    """The children of this process; leaving the context ends them all. To be used from the main thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, _Place] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()

    def __getitem__(self, name: str) -> Child:
        return self._places[name].child

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def start(
        self, name: str, argv: Sequence[str], env: Mapping[str, str] = MappingProxyType({}), *, keep: bool = False
    ) -> Child:
        """Start a child whose environment is ours plus `env`; with `keep`, `tend` starts it again whenever it ends.

        Raises:
            RuntimeError: not called from the main thread, or a child of this name still runs.
        """
        if name in self._places and self[name].returncode is None:
            raise RuntimeError(f"{name} still runs (pid {self[name].pid}); end it before it is started again")
        child = spawn(self.folder, name, argv, env)
        self._places[name] = _Place(tuple(argv), env, keep, child, time.monotonic())
        return child

    def restart(self, name: str, once: Mapping[str, str] = MappingProxyType({})) -> Child:
        """Start an ended child again as it was, now; an end that `tend` has not told by then is not told any more.

        What `once` adds to its environment is for this life alone.
        """
        place = self._places[name]
        child = self.start(name, place.argv, {**place.env, **once}, keep=place.keep)
        self._places[name] = replace(self._places[name], env=place.env, falls=place.falls)
        return child

    def give_up(self, name: str, grace_s: float = 10.0) -> Child:
        """Kill a child, which is not started again; its end is not told."""
        place = self._places[name]
        place.child.kill()
        place.child.wait(grace_s)
        self._places[name] = replace(place, keep=False, told=True, due=None)
        return place.child

    def start_beside(self, name: str, other: str) -> Child:
        """Start a second process like the one called `name`, called `other`; it is not started again when it ends."""
        place = self._places[name]
        return self.start(other, place.argv, place.env)

    def tend(self, wait_s: float = 0.0, news: int | None = None) -> tuple[Child, ...]:
        """What ended since the last call, awaited up to `wait_s`; those whose pause is over are started again.

        It returns sooner, and with nothing, once there is something to read at the descriptor `news`.
        """
        running = [place.child for place in self._places.values() if not place.told]
        wait_for_any(running, self._patience(wait_s), news)
        ended = tuple(child for child in running if child.returncode is not None)
        now = time.monotonic()
        for child in ended:
            self._places[child.name] = self._places[child.name].fallen(now)
        for name, place in tuple(self._places.items()):
            if place.due is not None and place.due <= now:
                self.restart(name)
        return ended

    def stop_all(self, grace_s: float = 10.0) -> None:
        """End all, the last started first: by SIGTERM, or by SIGKILL once `grace_s` for all of them is over."""
        until = time.monotonic() + grace_s
        for name in reversed(tuple(self._places)):
            child = self._places.pop(name).child
            child.kill(signal.SIGTERM)
            child.kill(signal.SIGCONT)  # one that was stopped would not see the first
            wait_for_any([child], max(0.0, until - time.monotonic()))
            child.kill(signal.SIGKILL)
            child.wait(math.inf)

    def _patience(self, wait_s: float) -> float:
        now = time.monotonic()
        return max(0.0, min([wait_s, *(place.due - now for place in self._places.values() if place.due is not None)]))
