"""What a loop has of the world: each thing that it wants is asked for, as a question, and waits for its answer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from mizzle.codec import decode_between_services, encode
from mizzle.errors import Away
from mizzle.messages import Message
from mizzle.moves import Tick
from services.runtime.redis_log import Entry, Output, Place
from services.runtime.service import Booking
from services.runtime.states import recalled, remembered

Question = tuple[Any, ...]
"""A word, and what it is about."""

_decoded = lru_cache(maxsize=None)(decode_between_services)


class Refusal(NamedTuple):
    """An answer that is raised."""

    error: type[Away]


class Hands:
    """What a loop has of the world: the log, the payload store and the ledger, each thing asked for a question."""

    def __init__(self, fresh: Any, answers: Sequence[Any], ask: Callable[[Question], Any]) -> None:
        """Hands for a loop whose states are like `fresh`, which hold what was answered already."""
        self._fresh, self._known, self._live = fresh, list(answers), ask

    def epoch(self, held: int) -> int:
        return int(self._ask("epoch", held))

    def facts(self) -> list[Message]:
        return [_decoded(body) for body in self._ask("facts")]

    def blob(self, digest: bytes) -> bytes | None:
        return self._ask("blob", digest)  # type: ignore[no-any-return]

    def has_open_window(self) -> bool:
        return bool(self._ask("has_open_window"))

    def clock(self) -> Tick:
        """The time, and chance."""
        return Tick(*self._ask("clock"))

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

    def fence(self) -> tuple[int, int]:
        return self._ask("fence")  # type: ignore[no-any-return]

    def append(self, outputs: Sequence[Output]) -> None:
        self._ask("append", tuple((output.stream, output.body) for output in outputs))

    def holder(self) -> int:
        return int(self._ask("holder"))

    def beat(self, at: int, behind: Mapping[str, str]) -> None:
        """A pulse is for people."""

    def get(self, key: bytes) -> bytes | None:
        return self._ask("get", key)  # type: ignore[no-any-return]

    def put_blob(self, digest: bytes, body: bytes) -> None:
        self._ask("put", digest, body)

    def blobs(self) -> list[str]:
        return list(self._ask("blobs"))

    def discard_blobs(self, names: Iterable[str]) -> None:
        for name in names:
            self._ask("discard", bytes.fromhex(name))

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
