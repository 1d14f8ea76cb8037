"""Turns of the real loop, one question to the world at a time.

`services.runtime.stage.Stage` runs here as it is. Whatever it wants of Redis, the ledger, the payload store, the world
or the clock is a *question*, and what it does next depends on nothing but the answers. So a process in the middle of a
turn is a *node*: what it remembered when the turn began, and the answers so far. From a node the turn can be gone on
with at any time, in any world: that is a process that was stopped and wakes. What was asked at a node is remembered, so
the loop is run once for each sequence of answers and not once for each world.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from mizzle.errors import Away
from mizzle.moves import Ground
from services.runtime.redis_log import Place
from services.runtime.service import Service, Stores
from services.runtime.stage import Stage
from services.runtime.states import recalled
from tests.exploration.hands import Hands, Question, ordered

EFFECTS = frozenset({"take", "put", "book", "tell", "commit", "append", "discard"})
"""The questions that change the world; all others look at it."""


class Memory(NamedTuple):
    """What a process remembers between two turns."""

    state: bytes
    epoch: int
    version: int
    cursors: tuple[tuple[str, str], ...]
    uncommitted: int


class End(NamedTuple):
    """How a turn ends: with what is remembered; or the process begins again, as one that is started anew does.

    One that begins again takes the place of a successor here, which the loop does not: more may happen than does.
    """

    memory: Memory | None


class Unanswered(BaseException):  # it says what happened
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
        except Away:
            return End(None)
        return End(_remembered(running))

    def _stage(self, hands: "Hands", memory: Memory | None) -> Stage[Any]:
        stores = Stores(
            hands,  # type: ignore[arg-type]  # of this shape
            hands,  # type: ignore[arg-type]  # of this shape
            hands.epoch,
            hands.facts,
            hands.blob,
            has_open_window=hands.has_open_window,
        )
        service = self._service
        service = Service(
            service.hop,
            service.begin,
            service.step,
            hands.book if service.book else None,
            hands.tell if service.tell else None,
        )
        made = self._kind(service, self._ground, stores, batch=1, clock=hands.clock)
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


def _remembered(running: Stage[Any]) -> Memory:
    place = running._place
    return Memory(
        state=ordered(running._state),
        epoch=place.epoch,
        version=place.version,
        cursors=tuple(running._cursors.items()),
        uncommitted=min(running._uncommitted, 1),
    )
