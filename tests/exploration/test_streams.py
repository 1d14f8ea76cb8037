"""Redis as a value keeps the rules of the real one: the same calls get the same answers, fences and entries."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from mizzle.errors import Away
from mizzle.topics import Keyspace
from services.pipeline import hop
from services.runtime.redis_log import Output, Place, RedisLog, connected
from tests.exploration import streams
from tests.exploration.streams import READS, SERVICES, Streams

CALLS = 200
OUTPUTS = ("received", "judged", "charged", "answered", "released", "booked")


class Both:
    """The real log and the value, each told the same; ids are compared by what stands under them."""

    def __init__(self, url: str, federation: str, chance: random.Random) -> None:
        self.client: Any = connected(url)
        self.logs = {name: RedisLog(self.client, Keyspace("explored", federation), hop(name)) for name in SERVICES}
        self.value, self.chance, self.said = Streams(), chance, 0
        self.places: dict[str, list[tuple[Place, dict[str, int]]]] = {name: [] for name in SERVICES}
        self.epochs = dict.fromkeys(SERVICES, 0)

    def take(self, name: str) -> object:
        """Begin anew, now and then under an epoch that is not the newest."""
        self.epochs[name] += self.chance.randint(0, 1)
        epoch = max(1, self.epochs[name] - self.chance.choice((0, 0, 0, 1)))

        def value() -> object:
            self.value, held = streams.take(self.value, name, epoch)
            self.held = held
            return held.version, held.state

        def real() -> object:
            place = self.logs[name].take(epoch)
            self.places[name].append((place, dict(zip(READS[name], self.held.cursors, strict=True))))
            return place.version, place.state

        return self.same(value, real)

    def turn(self, name: str) -> object:
        """Read after the cursors of somebody who has taken the place some time, and commit what was read."""
        at = self.chance.randrange(len(self.places[name]))
        place, cursors = self.places[name][at]
        count = self.chance.randint(1, 3)
        entries = self.logs[name].read(place.cursors, count, 1)
        found = streams.read(self.value, cursors, count)
        assert [(one.stream, one.body) for one in entries] == [(stream, body) for stream, _, body in found]
        real_cursors = {**place.cursors, **{one.stream: one.id for one in entries}}
        value_cursors = {**cursors, **{stream: number for stream, number, _ in found}}
        outputs = [(self.chance.choice(OUTPUTS), b"%d" % self.saying()) for _ in range(self.chance.randint(0, 2))]
        state = b"state %d" % self.said

        def value() -> object:
            fence = place.epoch, place.version
            self.value = streams.commit(self.value, name, fence, state, value_cursors, outputs)
            return place.version + 1

        def real() -> object:
            written = [Output(stream, body) for stream, body in outputs]
            after = self.logs[name].commit(place, state, real_cursors, written)
            self.places[name][at] = (after, value_cursors)
            return after.version

        return self.same(value, real)

    def append(self, _name: str) -> object:
        """Write from outside."""
        outputs = [(self.chance.choice(OUTPUTS), b"%d" % self.saying())]
        self.value = streams.append(self.value, outputs)
        self.logs["gateway"].append([Output(stream, body) for stream, body in outputs])
        return outputs

    def empty(self, _name: str) -> object:
        """Forget everything, now and then."""
        if self.chance.random() < 0.9:
            return None
        self.value = streams.emptied(self.value)
        for key in self.client.keys("*explored*"):
            self.client.delete(key)
        return "emptied"

    def holders(self) -> None:
        """Both say who holds what."""
        held = {name: streams.place(self.value, name) for name in SERVICES}
        assert {name: (log.holder(), log.fence()) for name, log in self.logs.items()} == {
            name: (one.epoch, one[:2]) if one else (0, (0, 0)) for name, one in held.items()
        }

    def saying(self) -> int:
        """Another body than all before."""
        self.said += 1
        return self.said

    @staticmethod
    def same(value: Callable[[], object], real: Callable[[], object]) -> object:
        """What both give, or the error that both raise."""
        answers = [_answer(one) for one in (value, real)]
        assert answers[0] == answers[1]
        return answers[0]


def _answer(call: Callable[[], object]) -> object:
    try:
        return call()
    except Away as away:
        return type(away)


@pytest.mark.parametrize("seed", range(2))
def test_the_value_answers_as_the_real_redis_does(redis_url: str, federation: str, seed: int) -> None:
    chance = random.Random(seed)
    both = Both(redis_url, f"{federation}-{seed}", chance)
    met = set()
    for _ in range(CALLS):
        name = chance.choice(SERVICES)
        acts = [both.take, both.append, both.empty, *([both.turn] * 6 if both.places[name] else [])]
        met.add(str(chance.choice(acts)(name)))
        both.holders()
    assert {"emptied", "<class 'mizzle.errors.Fenced'>"} <= met
