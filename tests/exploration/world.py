"""The world as one value, and all that can happen in it next.

The processes are nodes of `turns`, Redis is a value of `streams`, the ledger a page of the `shelf`. A turn is taken as a
whole, unless a fault interrupts it: a process may die after any of its effects, and may be stopped before any of them
and wake whenever it likes, with a successor or without. How many faults of which kind there are is part of the world.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from mizzle.codec import decode_between_services, encode
from mizzle.errors import Away, Fenced
from mizzle.plan import Plan
from services.aggregator import combine
from services.anomaly_detector import judge
from services.gateway import deliver
from services.pipeline import hop
from services.privacy_accountant import charge
from services.releaser import release
from services.runtime.stage import Service, Stage
from tests.exploration import claims, streams
from tests.exploration.claims import Broken
from tests.exploration.plain import plain
from tests.exploration.shelf import Book, Shelf, book
from tests.exploration.small import DEVICES, PHASE_MS, START, ground_of
from tests.exploration.streams import NAMES, READS, SERVICES, Fence, Held, Streams
from tests.exploration.turns import EFFECTS, Memory, Question, Refusal, Step, Turns

T = TypeVar("T")
GATEWAY, ACCOUNTANT = "gateway", "privacy_accountant"
RAN_OUT = 5
"""A fair world in which so many deadlines passed, and an update still has no outcome, gives none."""


class Faults(NamedTuple):
    """How many of each kind may still happen, and how many `together`; deadlines are none, and pass beside them."""

    crash: int = 0
    stop: int = 0
    empty: int = 0
    repeat: int = 0
    lose: int = 0
    together: int = 9
    deadlines: int = 1

    def without(self, kind: str) -> "Faults | None":
        """What may happen after one of this kind; None if it may not."""
        left = getattr(self, kind)
        if not left or not self.together:
            return None
        return self._replace(**{kind: left - 1, "together": self.together - 1})


class World(NamedTuple):
    """Everything: numbers stand for values that are kept once.

    `processes` are nodes, the root of nothing where none runs; `twin` is a service and the node at which its process
    was stopped. A device has sent its update, or has a receipt; `carried` are the updates that the broker holds.
    """

    page: int
    redis: int
    spool: frozenset[bytes]
    epochs: tuple[int, ...]
    processes: tuple[int, ...]
    twin: tuple[str, int] | None
    sent: frozenset[str]
    carried: frozenset[str]
    receipts: tuple[bytes | None, ...]
    phase: int
    left: Faults


class Move(NamedTuple):
    """What happens, in words, and the world then."""

    words: str
    world: World


class Kept(Generic[T]):
    """Values, each once, and a number for each."""

    def __init__(self) -> None:
        """None yet."""
        self.values: list[T] = []
        self._numbers: dict[T, int] = {}

    def number(self, value: T) -> int:
        """The number of this value."""
        if value not in self._numbers:
            self._numbers[value] = len(self.values)
            self.values.append(value)
        return self._numbers[value]


def services() -> dict[str, Service[Any]]:
    """The services as they are."""
    made = (
        Service(hop("gateway"), deliver.begin, deliver.step, tell=lambda _: None),
        Service(hop("anomaly_detector"), judge.begin, judge.step),
        Service(hop("privacy_accountant"), charge.begin, charge.step, book=lambda *_: ()),
        Service(hop("aggregator"), combine.begin, combine.step),
        Service(hop("releaser"), release.begin, release.step),
    )
    return {service.hop.service: service for service in made}


@dataclass(frozen=True)
class System:
    """What is explored; each of its parts may be a wrong one."""

    services: dict[str, Service[Any]] = field(default_factory=services)
    loop: type[Stage[Any]] = Stage
    book: Book = book
    fence: Fence = streams.fenced
    clears: Literal["receipt", "puback"] = "receipt"
    epochs: Literal["ledger", "redis"] = "ledger"


class Explored:
    """A system in the small federation, and all the values that its worlds are made of."""

    def __init__(self, system: System, plan: Plan) -> None:
        """Nothing has happened."""
        self.system, self.plan = system, plan
        self.shelf = Shelf(plan, system.book, claims.of_a_booking)
        self.devices = {device.name: device for device in self.shelf.devices}
        self.turns = {
            name: Turns(service, ground_of(plan, name), system.loop) for name, service in system.services.items()
        }
        self.redis: Kept[Streams] = Kept()
        self._bodies = {device.update: device.payload for device in self.devices.values()}
        self._sums: set[int] = set()
        self._turned_already: dict[tuple[str, World], tuple[Move, list[Step]]] = {}
        self._plainest: dict[Any, tuple[int, tuple[int, ...], tuple[int, ...]]] = {}

    def first(self, left: Faults) -> World:
        """All services run; both updates lie in their outboxes, and their window is open."""
        world = World(
            page=self.shelf.first,
            redis=self.redis.number(Streams()),
            spool=frozenset(),
            epochs=(0,) * len(SERVICES),
            processes=tuple(self.turns[name].root(None) for name in SERVICES),
            twin=None,
            sent=frozenset(),
            carried=frozenset(),
            receipts=(None,) * len(DEVICES),
            phase=0,
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
            emptied = self.redis.number(streams.emptied(self.redis.values[world.redis]))
            yield Move("Redis is emptied", self._plain(world._replace(redis=emptied, left=left)))
        if world.carried and (left := world.left.without("lose")):
            yield Move("the broker loses what it holds", world._replace(carried=frozenset(), left=left))
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
        with _told(words):
            steps, end = self._walk(world, name, node)
        after = self._plain(self._with(steps[-1].world, name, end.memory))
        return Move(words if after == world else words + _about(steps), after), steps

    def later(self, world: World) -> World:
        """The same world when a deadline has passed."""
        return world._replace(phase=world.phase + 1)

    def woken(self, world: World) -> Move:
        """The twin wakes and ends its turn; whoever is not fenced goes on, if it has no successor."""
        assert world.twin is not None
        name, node = world.twin
        words = f"the stopped {name} wakes, and goes on with its turn"
        with _told(words):
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
        return self.system.clears == "receipt" or device not in world.sent

    def taken_in(self, world: World, device: str) -> Move:
        """The gateway stores an update's payload, appends its header, and acknowledges."""
        taken = self._appended(self._stored(world, device), device)
        after = self._plain(taken._replace(carried=world.carried - {device}))
        return Move(f"the gateway takes in the update of {device}", after)

    def _taken_in(self, world: World, device: str) -> Iterator[Move]:
        yield self.taken_in(world, device)
        if left := world.left.without("crash"):
            dead = self._plain(self._with(world, GATEWAY, None)._replace(left=left))
            stored = self._stored(dead, device)
            yield Move(f"the gateway dies: the payload of {device} is stored, its header is on no stream", stored)
            yield Move(
                f"the gateway dies: the update of {device} is on its stream and not acknowledged",
                self._plain(self._appended(stored, device)),
            )

    def _stored(self, world: World, device: str) -> World:
        return world._replace(spool=world.spool | {self.devices[device].update})

    def _appended(self, world: World, device: str) -> World:
        (received,) = self.devices[device].taken.said
        redis = streams.append(self.redis.values[world.redis], [("received", encode(received))])
        return world._replace(redis=self.redis.number(redis))

    def _turned(self, world: World, name: str) -> Iterator[Move]:
        """A turn of a service: a whole one, or one that is interrupted."""
        move, steps = self._turn(world, name)
        if move.world != world:
            yield move
        node = world.processes[SERVICES.index(name)]
        is_running = node != self.turns[name].root(None)
        if left := world.left.without("crash"):
            yield from self._dead(world, name, steps, left, is_running=is_running)
        if world.twin is None and (left := world.left.without("stop")):
            yield from self._stopped(world, name, steps, left, is_running=is_running)

    def _dead(self, world: World, name: str, steps: list[Step], left: Faults, *, is_running: bool) -> Iterator[Move]:
        if is_running:
            yield Move(f"{name} dies between two turns", self._plain(self._with(world, name, None)._replace(left=left)))
        before = None
        for step in steps:
            if step.question[0] in EFFECTS and step.world != before:
                after = _outside(self._plain(self._with(step.world, name, None)), world)
                yield Move(f"{name} dies after its {_worded(step.question)}", after._replace(left=left))
            before = step.world

    def _stopped(
        self, world: World, name: str, steps: list[Step], left: Faults, *, is_running: bool
    ) -> Iterator[Move]:
        before, node = world, world.processes[SERVICES.index(name)]
        if is_running:
            stopped = self._with(world, name, None)._replace(twin=(name, node), left=left)
            yield Move(f"{name} is stopped between two turns", stopped)
        for step in steps:
            if step.question[0] in EFFECTS:
                stopped = _outside(self._with(before, name, None), world)._replace(twin=(name, step.node), left=left)
                yield Move(f"{name} is stopped before its {_worded(step.question)}", stopped)
            before = step.world

    def _with(self, world: World, name: str, memory: Memory | None) -> World:
        at, node = SERVICES.index(name), self.turns[name].root(memory)
        return world._replace(processes=(*world.processes[:at], node, *world.processes[at + 1 :]))

    def _plain(self, world: World) -> World:
        """The same world in its plainest numbers."""
        key = (world.redis, world.processes, world.epochs, world.twin)
        if key not in self._plainest:
            self._plainest[key] = self._plainer(world)
        redis, processes, epochs = self._plainest[key]
        return world._replace(redis=redis, processes=processes, epochs=epochs)

    def _plainer(self, world: World) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        memories = tuple(self.turns[name].memory(node) for name, node in zip(SERVICES, world.processes, strict=True))
        stopped = world.twin[0] if world.twin else None
        redis, memories, epochs = plain(self.redis.values[world.redis], memories, world.epochs, stopped)
        processes = tuple(self.turns[name].root(one) for name, one in zip(SERVICES, memories, strict=True))
        return self.redis.number(redis), processes, epochs

    def _walk(self, world: World, name: str, node: int) -> tuple[list[Step], Any]:
        return self.turns[name].walk(node, world, lambda now, question: self._perform(now, name, question))

    def _perform(self, world: World, name: str, question: Question) -> tuple[World, Any]:
        """The world after a question, and its answer."""
        try:
            return getattr(self, f"_on_{question[0]}")(world, name, *question[1:])  # type: ignore[no-any-return]
        except Away as away:
            return world, Refusal(type(away))

    def _on_epoch(self, world: World, name: str) -> tuple[World, int]:
        at, held = SERVICES.index(name), streams.place(self.redis.values[world.redis], name)
        before = world.epochs[at] if self.system.epochs == "ledger" else (held.epoch if held else 0)
        return world._replace(epochs=(*world.epochs[:at], before + 1, *world.epochs[at + 1 :])), before + 1

    def _on_facts(self, world: World, _name: str) -> tuple[World, tuple[bytes, ...]]:
        return world, self.shelf.facts(world.page)

    def _on_blob(self, world: World, _name: str, digest: bytes) -> tuple[World, bytes | None]:
        return world, self.shelf.blob(world.page, digest)

    def _on_clock(self, world: World, name: str) -> tuple[World, int]:
        # Only the aggregator waits for a deadline. To the others the window's end is when time has passed.
        is_later = world.phase if name == "aggregator" else self.shelf.has_ended(world.page)
        return world, START + PHASE_MS * is_later

    def _on_entropy(self, world: World, _name: str) -> tuple[World, bytes]:
        # Once there is an aggregate, other bytes: what is made again is made otherwise.
        made = sorted(world.spool.difference(device.update for device in self.devices.values()))
        return world, hashlib.sha256(b"".join(made)).digest()

    def _on_take(self, world: World, name: str, epoch: int) -> tuple[World, Any]:
        redis, held = streams.take(self.redis.values[world.redis], name, epoch)
        cursors = tuple(zip(READS[name], (f"{cursor}-0" for cursor in held.cursors), strict=True))
        return world._replace(redis=self.redis.number(redis)), (held.version, held.state, cursors)

    def _on_read(self, world: World, _name: str, cursors: Any, count: int) -> tuple[World, Any]:
        return world, streams.read(self.redis.values[world.redis], _numbers(cursors), count)

    def _on_tries(self, world: World, name: str, stream: str, entry: str) -> tuple[World, int]:
        redis, count = streams.tried(self.redis.values[world.redis], name, stream, _number(entry))
        return world._replace(redis=self.redis.number(redis)), count

    def _on_holder(self, world: World, name: str) -> tuple[World, int]:
        held = streams.place(self.redis.values[world.redis], name)
        return world, held.epoch if held else 0

    def _on_get(self, world: World, _name: str, key: bytes) -> tuple[World, bytes | None]:
        return world, self._bodies[key] if key in world.spool else None

    def _on_put(self, world: World, _name: str, key: bytes, body: bytes) -> tuple[World, None]:
        self._bodies[key] = body
        return world._replace(spool=world.spool | {key}), None

    def _on_discard(self, world: World, _name: str, key: bytes) -> tuple[World, None]:
        return world._replace(spool=world.spool - {key}), None

    def _on_book(self, world: World, name: str, epoch: int, asked: Any) -> tuple[World, tuple[bytes, ...]]:
        _, now = self._on_clock(world, name)
        is_newest = epoch == world.epochs[SERVICES.index(name)]
        page, said = self.shelf.book(world.page, asked, now, is_newest=is_newest)
        if page not in self._sums:
            claims.of_a_release(self.shelf.pages[page], self.plan, self._bodies, lambda key: self.shelf.blob(page, key))
            self._sums.add(page)
        return world._replace(page=page), said

    def _on_append(self, world: World, _name: str, outputs: Any) -> tuple[World, None]:
        return world._replace(redis=self.redis.number(streams.append(self.redis.values[world.redis], outputs))), None

    def _on_commit(
        self, world: World, name: str, fence: Any, state: bytes | None, cursors: Any, outputs: Any
    ) -> tuple[World, None]:
        redis = self.redis.values[world.redis]
        after = streams.commit(redis, name, fence, state, _numbers(cursors), outputs, self.system.fence)
        if not streams.fenced(held := streams.place(redis, name), *fence):
            seen = f"what was held was of {_held(held)}"
            raise Broken("I6", f"the {name} of epoch {fence[0]}, version {fence[1]} wrote, and {seen}")
        return world._replace(redis=self.redis.number(after)), None

    def _on_tell(self, world: World, _name: str, bodies: Any) -> tuple[World, None]:
        page, receipts, spool = self.shelf.pages[world.page], list(world.receipts), world.spool
        for answer in claims.of_what_is_told(page, bodies):
            at = DEVICES.index(answer.device)
            claims.of_a_receipt(page, self.devices[answer.device], answer.sealed, receipts[at])
            if not self.devices[answer.device].clears(answer.sealed):
                raise Broken("I4", f"{answer.device} does not believe its receipt")
            receipts[at] = answer.sealed
            spool -= {answer.ends} if answer.ends else set()
        return world._replace(receipts=tuple(receipts), spool=spool), None


class _told:  # noqa: N801  # read as a word: with _told(...)
    """Says with a broken claim what happened when it broke."""

    def __init__(self, words: str) -> None:
        self._words = words

    def __enter__(self) -> None:
        """Nothing is done."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Broken):
            error.add_note(self._words)


_NOBODY: frozenset[str] = frozenset()
_NO_FAULTS = Faults()


def _outside(world: World, like: World) -> World:
    """The world with devices, broker and what may befall as in another."""
    return world._replace(sent=like.sent, carried=like.carried, left=like.left)


def _numbers(cursors: Any) -> dict[str, int]:
    return {name: _number(entry) for name, entry in cursors}


def _number(entry: str) -> int:
    return int(entry.partition("-")[0])


def _held(held: Held | None) -> str:
    return f"epoch {held.epoch}, version {held.version}" if held else "nobody"


def _about(steps: list[Step]) -> str:
    """What a turn was about: what it read."""
    read = [body for step in steps if step.question[0] == "commit" for _, body in step.question[4]]
    said = ", ".join(type(decode_between_services(body)).__name__ for body in read)
    return f", and says {said}" if said else ""


def _worded(question: Question) -> str:
    match question:
        case ("book", _, asked):
            names = ", ".join(type(decode_between_services(body)).__name__ for body, *_ in asked)
            return f"booking of {names}"
        case ("commit" | "append", *_):
            return "commit to Redis"
        case (word, *_):
            return {"take": "taking of the place", "put": "keeping of a blob", "tell": "telling"}.get(word, word)
