"""The world as one value, and the faults that may still befall it."""

from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

NO_COPY, A_COPY_MAY_BE_MADE = -2, -1
"""What a world says of the copy of Redis where there is none."""


class Faults(NamedTuple):
    """How many of each kind may still happen, and how many `together`; deadlines are none, and pass beside them.

    Where `stops` names a service, it is the only one that is stopped.
    """

    crash: int = 0
    stop: int = 0
    empty: int = 0
    repeat: int = 0
    lose: int = 0
    back: int = 0
    together: int = 9
    deadlines: int = 1
    stops: str = ""

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
    `copy` is what Redis was when somebody copied its files.
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
    copy: int
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
