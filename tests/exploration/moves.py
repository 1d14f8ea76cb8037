"""All that can happen next in a world.

The processes are nodes of `turns`, Redis is a value of `streams`, the ledger a page of the `shelf`. A turn is taken as
a whole, unless a fault interrupts it: a process may die after any of its effects, and may be stopped before any of them
and wake whenever it likes, with a successor or without. How many faults of which kind there are is part of the world.
"""

from collections.abc import Iterator
from typing import Any

from mizzle.plan import Plan
from tests.exploration.answers import Answers
from tests.exploration.claims import Broken
from tests.exploration.plain import plain
from tests.exploration.small import DEVICES, ground_of
from tests.exploration.streams import SERVICES, Streams
from tests.exploration.system import System
from tests.exploration.turns import EFFECTS, End, Memory, Step, Turns
from tests.exploration.words import about, telling, worded
from tests.exploration.world import A_COPY_MAY_BE_MADE, NO_COPY, Faults, Move, World

GATEWAY = "gateway"


class Explored:
    """A system in the small federation, and all that was ever seen to happen in it."""

    def __init__(self, system: System, plan: Plan) -> None:
        """Nothing was seen."""
        self.answers = Answers(system, plan)
        self.turns = {
            name: Turns(service, ground_of(plan, name), system.loop) for name, service in system.services.items()
        }
        self._plainest: dict[Any, tuple[int, tuple[int, ...], tuple[int, ...]]] = {}
        self._turned_already: dict[tuple[str, World], tuple[Move, list[Step]]] = {}

    def first(self, left: Faults) -> World:
        """All services run; both updates lie in their outboxes, and their window is open."""
        world = World(
            page=self.answers.shelf.first,
            redis=self.answers.redis.number(Streams()),
            spool=frozenset(),
            epochs=(0,) * len(SERVICES),
            processes=tuple(self.turns[name].root(None) for name in SERVICES),
            twin=None,
            sent=frozenset(),
            carried=frozenset(),
            receipts=(None,) * len(DEVICES),
            phase=0,
            copy=A_COPY_MAY_BE_MADE if left.back else NO_COPY,
            left=left,
        )
        for name in SERVICES:
            world = self.turn(world, name).world
        return world

    def is_over(self, world: World) -> bool:
        """Whether every update has its outcome, and its device the receipt."""
        return all(receipt is not None for receipt in world.receipts) and not world.carried

    def moves(self, world: World) -> Iterator[Move]:
        """All that can happen next. Raises `Broken` where it breaks a claim: `words` says what it was."""
        for name in SERVICES:
            yield from self._turned(world, name)
        if world.twin is not None:
            yield self.woken(world)
        for device in DEVICES:
            if device in world.carried:
                yield from self._taken_in(world, device)
            elif device not in world.sent:
                yield self.sent(world, device)
            elif self.holds(world, device) and (left := world.left.without("repeat")):
                yield Move(f"{device} sends its update again", self.sent(world, device).world._replace(left=left))
        if left := world.left.without("empty"):
            yield Move("Redis is emptied", self._plain(self.answers.emptied(world)._replace(left=left)))
        if world.carried and (left := world.left.without("lose")):
            yield Move("the broker loses what it holds", world._replace(carried=frozenset(), left=left))
        yield from _set_back(world)
        if world.left.deadlines:
            left = world.left._replace(deadlines=world.left.deadlines - 1)
            yield Move("the deadline passes", self.later(world)._replace(left=left))

    def turn(self, world: World, name: str) -> Move:
        """A whole turn of a service."""
        return self._turn(world, name)[0]

    def _turn(self, world: World, name: str) -> tuple[Move, list[Step]]:
        """A whole turn and its steps, which are the same whatever devices and broker hold and may befall."""
        inside = world._replace(sent=_NOBODY, carried=_NOBODY, left=_NO_FAULTS)
        if (name, inside) not in self._turned_already:
            self._turned_already[name, inside] = self._turn_inside(inside, name)
        move, steps = self._turned_already[name, inside]
        return Move(move.words, _outside(move.world, world)), steps

    def _turn_inside(self, world: World, name: str) -> tuple[Move, list[Step]]:
        node = world.processes[SERVICES.index(name)]
        words = f"{name} {'starts' if node == self.turns[name].root(None) else 'turns'}"
        with telling(words):
            steps, end = self._walk(world, name, node)
        after = self._plain(self._with(steps[-1].world, name, end.memory))
        return Move(words if after == world else words + about(steps), after), steps

    def later(self, world: World) -> World:
        """The same world when a deadline has passed."""
        return world._replace(phase=world.phase + 1)

    def woken(self, world: World) -> Move:
        """The twin wakes and ends its turn; whoever is not fenced goes on, if it has no successor."""
        assert world.twin is not None
        name, node = world.twin
        words = f"the stopped {name} wakes, and goes on with its turn"
        with telling(words):
            steps, end = self._walk(world._replace(twin=None), name, node)
        after = steps[-1].world
        if end.memory is None:
            return Move(words, self._plain(after))
        if world.processes[SERVICES.index(name)] != self.turns[name].root(None):
            broken = Broken("I6", f"{name} has a successor, and nothing has told it at the end of its turn")
            broken.add_note(words)
            raise broken
        return Move(words, self._plain(self._with(after, name, end.memory)))

    def sent(self, world: World, device: str) -> Move:
        """A device sends its update, unless it has let go of it."""
        after = world._replace(sent=world.sent | {device}, carried=world.carried | {device})
        return Move(f"{device} sends its update", after)

    def holds(self, world: World, device: str) -> bool:
        """Whether the device still has its update, and so sends it again."""
        return self.answers.system.clears == "receipt" or device not in world.sent

    def taken_in(self, world: World, device: str) -> Move:
        """The gateway stores an update's payload, appends its header, and acknowledges."""
        taken = self.answers.appended(self.answers.stored(world, device), device)
        after = self._plain(taken._replace(carried=world.carried - {device}))
        return Move(f"the gateway takes in the update of {device}", after)

    def _taken_in(self, world: World, device: str) -> Iterator[Move]:
        yield self.taken_in(world, device)
        if left := world.left.without("crash"):
            dead = self._plain(self._with(world, GATEWAY, None)._replace(left=left))
            stored = self.answers.stored(dead, device)
            yield Move(f"the gateway dies: the payload of {device} is stored, its header is on no stream", stored)
            yield Move(
                f"the gateway dies: the update of {device} is on its stream and not acknowledged",
                self._plain(self.answers.appended(stored, device)),
            )

    def _turned(self, world: World, name: str) -> Iterator[Move]:
        """A turn of a service: a whole one, or one that is interrupted."""
        move, steps = self._turn(world, name)
        if move.world != world:
            yield move
        node = world.processes[SERVICES.index(name)]
        is_running = node != self.turns[name].root(None)
        if left := world.left.without("crash"):
            yield from self._dead(world, name, steps, left, is_running=is_running)
        may_stop = world.twin is None and world.left.stops in {"", name}
        if may_stop and (left := world.left.without("stop")):
            yield from self._stopped(world, name, steps, left, is_running=is_running)

    def _dead(self, world: World, name: str, steps: list[Step], left: Faults, *, is_running: bool) -> Iterator[Move]:
        if is_running:
            yield Move(f"{name} dies between two turns", self._plain(self._with(world, name, None)._replace(left=left)))
        before = None
        for step in steps:
            if step.question[0] in EFFECTS and step.world != before:
                after = _outside(self._plain(self._with(step.world, name, None)), world)
                yield Move(f"{name} dies after its {worded(step.question)}", after._replace(left=left))
            before = step.world

    def _stopped(self, world: World, name: str, steps: list[Step], left: Faults, *, is_running: bool) -> Iterator[Move]:
        before, node = world, world.processes[SERVICES.index(name)]
        if is_running:
            stopped = self._with(world, name, None)._replace(twin=(name, node), left=left)
            yield Move(f"{name} is stopped between two turns", stopped)
        for step in steps:
            if step.question[0] in EFFECTS:
                stopped = _outside(self._with(before, name, None), world)._replace(twin=(name, step.node), left=left)
                yield Move(f"{name} is stopped before its {worded(step.question)}", stopped)
            before = step.world

    def _with(self, world: World, name: str, memory: Memory | None) -> World:
        at, node = SERVICES.index(name), self.turns[name].root(memory)
        return world._replace(processes=(*world.processes[:at], node, *world.processes[at + 1 :]))

    def _plain(self, world: World) -> World:
        """The same world in its plainest numbers; as it is where a copy keeps older ones."""
        if world.copy != NO_COPY:
            return world
        key = (world.redis, world.processes, world.epochs, world.twin)
        if key not in self._plainest:
            self._plainest[key] = self._plainer(world)
        redis, processes, epochs = self._plainest[key]
        return world._replace(redis=redis, processes=processes, epochs=epochs)

    def _plainer(self, world: World) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        memories = tuple(self.turns[name].memory(node) for name, node in zip(SERVICES, world.processes, strict=True))
        stopped = world.twin[0] if world.twin else None
        redis, memories, epochs = plain(self.answers.redis.values[world.redis], memories, world.epochs, stopped)
        processes = tuple(self.turns[name].root(one) for name, one in zip(SERVICES, memories, strict=True))
        return self.answers.redis.number(redis), processes, epochs

    def _walk(self, world: World, name: str, node: int) -> tuple[list[Step], End]:
        return self.turns[name].walk(node, world, lambda now, question: self.answers.perform(now, name, question))


def _set_back(world: World) -> Iterator[Move]:
    """Somebody copies Redis's files, and puts the copy back later: what was committed in between is gone."""
    if left := world.left.without("back"):
        if world.copy == A_COPY_MAY_BE_MADE:
            yield Move("somebody copies Redis's files", world._replace(copy=world.redis))
        elif world.copy not in {NO_COPY, world.redis}:
            yield Move("Redis is set back to its copy", world._replace(redis=world.copy, copy=NO_COPY, left=left))


_NOBODY: frozenset[str] = frozenset()
_NO_FAULTS = Faults()


def _outside(world: World, like: World) -> World:
    """The world with devices, broker and what may befall as in another."""
    return world._replace(sent=like.sent, carried=like.carried, left=like.left)
