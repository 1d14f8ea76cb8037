"""Who acts next: chance picks among those with something to do; when nobody has, time goes on to the next thing due.

One thread does everything. A pause inside somebody's act is a call of `run_for`: the others act meanwhile, nested in
it, and whoever is in the middle of an act is not picked. So a twin that sleeps, a gateway that waits for a store and a
process that is stopped between two effects need no threads, and the same seed gives the same history.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Protocol

FIRST_IDLE_MS = 200


class Actor(Protocol):
    """Somebody who acts when there is something to do."""

    name: str

    def act(self) -> bool:
        """Do one thing; whether there is more to do at once."""

    def is_over(self) -> bool:
        """Whether it never acts again."""


@dataclass
class Scheduler:
    """Time in milliseconds, the actors that are ready, and what is due when; `idle` is done before time jumps."""

    now: int
    chance: Random
    longest_idle_ms: int
    tick: Callable[[], None] = lambda: None
    steps: int = 0
    broken: BaseException | None = None
    """What ends the run, whoever's act it came up in: a loop of a service takes exceptions for poison, and goes on."""
    _ready: list[Actor] = field(default_factory=list)
    _places: dict[int, int] = field(default_factory=dict)
    _busy: dict[int, bool] = field(default_factory=dict)
    _agenda: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)
    _idle_ms: int = FIRST_IDLE_MS

    def wake(self, actor: Actor) -> None:
        """There is something to do for this actor."""
        self._idle_ms = FIRST_IDLE_MS
        self._make_ready(actor)

    def nudge(self, actor: Actor) -> None:
        """Time has gone on for this actor, and nothing else."""
        self._make_ready(actor)

    def at(self, moment: int, act: Callable[[], None]) -> None:
        """Do this at that moment."""
        heapq.heappush(self._agenda, (moment, next(self._numbers), act))

    def after(self, ms: int, act: Callable[[], None]) -> None:
        """Do this so much later."""
        self.at(self.now + ms, act)

    def run_for(self, ms: int) -> None:
        """Let the others act for so long."""
        until = self.now + ms
        while self.now < until:
            self.step(until)

    def is_busy(self, actor: Actor) -> bool:
        """Whether the actor is in the middle of an act."""
        return id(actor) in self._busy

    def step(self, until: int) -> None:
        """Let somebody act, or time pass until something is due, `until` at the latest."""
        self.steps += 1
        self.now += 1
        self._do_what_is_due()
        if not self._ready:
            return self._idle(until)
        actor = self._ready[self.chance.randrange(len(self._ready))]
        self._unready(actor)
        if actor.is_over():
            return None
        if id(actor) in self._busy:  # in the middle of an act, further down: it goes on when that returns
            self._busy[id(actor)] = True
            return None
        self._busy[id(actor)] = False
        more = actor.act()
        if self.broken is not None:
            raise self.broken
        if self._busy.pop(id(actor)) or more:
            self._make_ready(actor)
        return None

    def _idle(self, until: int) -> None:
        due = self._agenda[0][0] if self._agenda else until
        self.now = max(self.now, min(due, until, self.now + self._idle_ms))
        self._idle_ms = min(self.longest_idle_ms, 4 * self._idle_ms)
        self._do_what_is_due()
        self.tick()

    def _do_what_is_due(self) -> None:
        while self._agenda and self._agenda[0][0] <= self.now:
            heapq.heappop(self._agenda)[2]()

    def _make_ready(self, actor: Actor) -> None:
        if id(actor) not in self._places:
            self._places[id(actor)] = len(self._ready)
            self._ready.append(actor)

    def _unready(self, actor: Actor) -> None:
        """Take it out by putting the last one in its place."""
        place, last = self._places.pop(id(actor)), self._ready.pop()
        if last is not actor:
            self._ready[place] = last
            self._places[id(last)] = place
