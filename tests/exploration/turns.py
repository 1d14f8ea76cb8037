"""Turns of the real loop, one question to the world at a time.

`services.runtime.stage.Stage` runs here as it is. Whatever it wants of Redis, the ledger, the payload store, the world
or the clock is a *question*, and what it does next depends on nothing but the answers. So a process in the middle of a
turn is a *node*: what it remembered when the turn began, and the answers so far. From a node the turn can be gone on
with at any time, in any world: that is a process that was stopped and wakes. What was asked at a node is remembered, so
the loop is run once for each sequence of answers and not once for each world.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from mizzle.codec import decode_between_services, encode
from mizzle.errors import Away, Fenced
from mizzle.messages import Message
from mizzle.moves import Ground
from services.runtime.redis_log import Entry, Output, Place
from services.runtime.stage import Booking, Service, Stage, Stores, recalled, remembered

Question = tuple[Any, ...]
"""A word, and what it is about."""

EFFECTS = frozenset({"take", "put", "book", "tell", "commit", "append", "discard"})
"""The questions that change the world; all others look at it."""

_decoded = lru_cache(maxsize=None)(decode_between_services)


class Memory(NamedTuple):
    """What a process remembers between two turns."""

    state: bytes
    epoch: int
    version: int
    cursors: tuple[tuple[str, str], ...]
    uncommitted: int


class End(NamedTuple):
    """How a turn ends: with what is remembered, or the process must begin again, or it `is_over`, having a successor."""

    memory: Memory | None
    is_over: bool = False


class Refusal(NamedTuple):
    """An answer that is raised."""

    error: type[Away]


class Unanswered(BaseException):  # noqa: N818  # it says what happened
    """The explorer itself is at fault: it could not answer a question."""


class Step(NamedTuple):
    """A question, the node at which it was asked, and the world once it is answered."""

    node: int
    question: Question
    world: Any


Perform = Callable[[Any, Question], tuple[Any, Any]]
"""The world after a question, and the answer."""


class Turns:
    """All that one service was ever seen to do."""

    def __init__(self, service: Service[Any], ground: Ground, kind: type[Stage[Any]] = Stage) -> None:
        """Nothing was seen yet; `kind` is the loop."""
        self._service, self._ground, self._kind = service, ground, kind
        self._batch = 1
        self._fresh = service.begin(ground)
        self._roots: dict[Memory | None, int] = {}
        self._began: list[Memory | None] = []  # by node
        self._answers: list[tuple[Any, ...]] = []  # by node
        self._asked: dict[int, Question | End] = {}
        self._children: dict[tuple[int, Any], int] = {}

    def root(self, memory: Memory | None) -> int:
        """The node of a process between two turns; of one that begins, if it remembers nothing."""
        if memory not in self._roots:
            self._roots[memory] = self._node(memory, ())
        return self._roots[memory]

    def memory(self, node: int) -> Memory | None:
        """What the process remembered when its turn began."""
        return self._began[node]

    def walk(self, node: int, world: Any, perform: Perform) -> tuple[list[Step], End]:
        """The steps from a node to the end of its turn, in a world where nobody else acts."""
        steps: list[Step] = []

        def ask(question: Question) -> Any:
            nonlocal node, world
            self._asked[node] = question
            try:
                after, answer = perform(world, question)
            except Exception as error:  # the loop would take it for poison, and go on
                raise Unanswered(question[0]) from error
            steps.append(Step(node, question, after))
            world, node = after, self._child(node, answer)
            return answer

        while (asked := self._asked.get(node)) is not None:
            if isinstance(asked, End):
                return steps, asked
            ask(asked)
        end = self._run(node, ask)
        self._asked[node] = end
        return steps, end

    def _run(self, node: int, ask: Callable[[Question], Any]) -> End:
        """Run the loop from the beginning of the turn: what was answered before is answered the same."""
        memory, hands = self._began[node], Hands(self._fresh, self._answers[node], ask)
        running = self._stage(hands, memory)
        try:
            running._resume() if memory is None else running._turn()
        except Fenced:
            return End(None, is_over=running._superseded())
        except Away:
            return End(None)
        return End(_remembered(running))

    def _stage(self, hands: "Hands", memory: Memory | None) -> Stage[Any]:
        stores = Stores(hands, hands, hands.epoch, hands.facts, hands.blob, hands.clock, hands.entropy)  # type: ignore[arg-type]  # of this shape
        service = self._service
        service = Service(
            service.hop,
            service.begin,
            service.step,
            hands.book if service.book else None,
            hands.tell if service.tell else None,
        )
        made = self._kind(service, self._ground, stores, batch=self._batch)
        if memory is not None:
            made._state = recalled(memory.state, self._fresh)
            made._place = Place(memory.epoch, memory.version)
            made._cursors = dict(memory.cursors)
            made._uncommitted = memory.uncommitted
        return made

    def _child(self, node: int, answer: Any) -> int:
        if (node, answer) not in self._children:
            self._children[node, answer] = self._node(self._began[node], (*self._answers[node], answer))
        return self._children[node, answer]

    def _node(self, memory: Memory | None, answers: tuple[Any, ...]) -> int:
        self._began.append(memory)
        self._answers.append(answers)
        return len(self._began) - 1


class Hands:
    """What a loop has of the world: the log, the payload store and the ledger, each thing asked for a question."""

    def __init__(self, fresh: Any, answers: Sequence[Any], ask: Callable[[Question], Any]) -> None:
        """Hands for a loop whose states are like `fresh`, which hold what was answered already."""
        self._fresh, self._known, self._live = fresh, list(answers), ask

    def epoch(self) -> int:
        return int(self._ask("epoch"))

    def facts(self) -> list[Message]:
        return [_decoded(body) for body in self._ask("facts")]

    def blob(self, digest: bytes) -> bytes | None:
        return self._ask("blob", digest)  # type: ignore[no-any-return]

    def clock(self) -> int:
        return int(self._ask("clock"))

    def entropy(self) -> bytes:
        return self._ask("entropy")  # type: ignore[no-any-return]

    def take(self, epoch: int) -> Place:
        version, state, cursors = self._ask("take", epoch)
        return Place(epoch, version, state, dict(cursors))

    def read(self, cursors: Mapping[str, str], count: int, wait_ms: int) -> list[Entry]:
        del wait_ms
        found = self._ask("read", tuple(cursors.items()), count)
        return [Entry(stream, f"{number}-0", body) for stream, number, body in found]

    def commit(
        self, place: Place, state: bytes | None, cursors: Mapping[str, str], outputs: Sequence[Output] = ()
    ) -> Place:
        said = tuple((output.stream, output.body) for output in outputs)
        written = None if state is None else ordered(recalled(state, self._fresh))
        self._ask("commit", (place.epoch, place.version), written, tuple(cursors.items()), said)
        return Place(place.epoch, place.version + 1, state, dict(cursors))

    def append(self, outputs: Sequence[Output]) -> None:
        self._ask("append", tuple((output.stream, output.body) for output in outputs))

    def holder(self) -> int:
        return int(self._ask("holder"))

    def tries(self, entry: Entry) -> int:
        return int(self._ask("tries", entry.stream, entry.id))

    def dead(self, entry: Entry, service: str, why: str) -> Output:
        del service, why
        return Output("dead", entry.body)

    def beat(self, at: int, behind: Mapping[str, str]) -> None:
        """A pulse is for people."""

    def get(self, key: bytes) -> bytes | None:
        return self._ask("get", key)  # type: ignore[no-any-return]

    def put(self, key: bytes, body: bytes) -> None:
        self._ask("put", key, body)

    def discard(self, key: bytes) -> None:
        self._ask("discard", key)

    def book(self, epoch: int, bookings: Sequence[Booking]) -> list[Message]:
        asked = tuple(
            (encode(one.told.message), tuple(sorted(one.told.attached.items())), one.stream, one.entry)
            for one in bookings
        )
        return [_decoded(body) for body in self._ask("book", epoch, asked)]

    def tell(self, messages: Sequence[Message]) -> None:
        self._ask("tell", tuple(map(encode, messages)))

    def _ask(self, *question: Any) -> Any:
        answer = self._known.pop(0) if self._known else self._live(question)
        if isinstance(answer, Refusal):
            raise answer.error("as the world says")
        return answer


def _remembered(running: Stage[Any]) -> Memory:
    place = running._place
    return Memory(
        state=ordered(running._state),
        epoch=place.epoch,
        version=place.version,
        cursors=tuple(running._cursors.items()),
        uncommitted=min(running._uncommitted, 1),
    )


def ordered(state: Any) -> bytes:
    """A state's bytes, the same for equal states: the order in which things came into it is no part of it."""
    return remembered(_in_order(state))


def _in_order(value: Any) -> Any:
    match value:
        case Struct() if not isinstance(value, Message):
            parts = {name: _in_order(getattr(value, name)) for name in value.__struct_fields__}
            return msgspec.structs.replace(value, **parts)
        case dict():
            return {key: _in_order(part) for key, part in sorted(value.items())}
        case set():
            return sorted(value)  # written as a list is
        case _:
            return value
