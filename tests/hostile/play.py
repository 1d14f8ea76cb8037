"""One federation, honest and hostile devices on it, and everything that came of it, read from where it is kept.

Windows run one after the other, and each ends when all but one of its cohort have sent something: that one sleeps.

    calm       everybody is honest
    one more   stays open while a device that nobody invited tries everything once; two others begin a barrage
    disturbed  honest devices go on beside it, and the other members of the cohort send one bad content each a window
"""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import numpy as np
from safetensors.numpy import save

from mizzle import topics
from mizzle.codec import decode
from mizzle.device.train import Device
from mizzle.envelope import unseal
from mizzle.messages import Invitation, ModelRef, Receipt, Refused
from mizzle.plan import from_toml
from mizzle.terms import bound_of
from mizzle.topics import Keyspace, Up
from services.gateway import allowance
from services.ledger.ledger import Ledger
from services.local.federation import SERVICES, Federation, running
from services.pipeline import DEAD, STRAY
from services.runtime.redis_log import connected
from tests.hostile.actor import Actor, Voice
from tests.hostile.deeds import PURPOSES, Deed, Ending, at_any_time, contents, modest, refused, stray
from tests.hostile.memory import forget_peak, peak, resident
from tests.mizzle.device.fleet import Running
from tests.mqtt import Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mizzle.device.task import Task

HONEST: Final = 3
MEMBERS: Final = 12
CALM: Final = 4
DEADLINE_S: Final = 20.0
BARRAGE: Final = 1500
"""So many messages, at least, from each of two devices."""
AT_ONCE: Final = 20

WATCHED: Final = (*SERVICES, "broker", "store")
MODEL: Final = bytes(save({"weight": np.zeros((200, 200), np.float32)}))
TOML: Final = f"""
schema = 1
federation = "barn"
model = "square.safetensors"
[train]
[window]
mode = "rounds"
goal = {HONEST + MEMBERS}
quorum = 2
invite = {(HONEST + MEMBERS + 1) / (HONEST + MEMBERS):.4f}
deadline_s = {DEADLINE_S}
max_staleness = 1
[select]
policy = "uniform"
[update]
codec = "hadamard"
bits = 8
[judge]
scores = ["norm"]
[combine]
strategy = "fedavg"
[privacy]
mechanism = "plain"
minimum_crowd = 2
"""
PLAN: Final = from_toml(TOML, MODEL)


@dataclass(frozen=True)
class Played:
    """What came of it; times are in seconds, memory in bytes by process.

    `beside` counts the messages of the barrage that were sent while the disturbed windows were open.
    """

    endings: dict[str, list[Ending]]
    expected: dict[str, Ending]
    calm_s: list[float]
    disturbed_s: list[float]
    resident: dict[str, int]
    peak: dict[str, int]
    barrage: int
    beside: int
    honest: set[tuple[str, int]]
    windows: int
    receipts_that_changed: int
    receipts_without_why: set[str]
    deliveries: dict[str, int]
    updates: int
    strays: Counter[str]
    audited: int
    dead: list[Any]
    fallen: tuple[str, ...]
    complaints: list[str]


@dataclass(frozen=True)
class Try:
    """A deed by its full name, and who did it."""

    name: str
    actor: Actor
    deed: Deed

    def do(self) -> None:
        """Say it."""
        self.actor.say(self.deed.topic, *self.deed.bodies, beside=self.deed.beside)


class Records:
    """What a federation keeps: its ledger as anybody's SQLite, and its dead letters."""

    def __init__(self, federation: Federation) -> None:
        name = federation.plan.federation
        self._file = federation.ledger_file
        self._space = Keyspace(Ledger.open(f"sqlite:///{self._file}", name).name, name)
        self._client = connected(federation.processes._places["gateway"].env["REDIS_URL"])

    def rows(self, statement: str, *values: object) -> list[Any]:
        """What the ledger answers."""
        with closing(sqlite3.connect(self._file)) as connection:
            return connection.execute(statement, values).fetchall()

    def letters(self, stream: str) -> list[dict[str, Any]]:
        """All dead letters on a stream, oldest first."""
        rows: Any = self._client.xrange(self._space.stream(stream))
        return [msgspec.msgpack.decode(fields[b"m"]) for _, fields in rows]

    def seconds(self, windows: range) -> list[float]:
        """How long each of these windows was open."""
        found = self.rows("SELECT number, ended_at - opened_at FROM windows WHERE ended_at IS NOT NULL")
        return [took / 1000 for number, took in found if number in windows]

    def endings(self, tried: Try, strays: Counter[tuple[str, int, bytes, str]]) -> Iterator[Ending]:
        """Every ending of a deed that there is a record of."""
        deed, voice = tried.deed, tried.actor.voice
        for body in deed.bodies:
            for (topic, size, begins, reason), times in strays.items():
                if (topic, size, begins) == (deed.topic, len(body), body[:100]):
                    yield from [stray(reason)] * times
        if deed.update is not None:
            for outcome, reason in self.rows("SELECT outcome, reason FROM updates WHERE id = ?", deed.update):
                yield Ending("receipt", reason or outcome)
        if deed.ending.by == "audit":
            wanted = "SELECT action FROM audit WHERE subject = ? AND action = ?"
            for (action,) in self.rows(wanted, voice.name, deed.ending.reason):
                yield Ending("audit", action)


class Barrage:
    """A device that sends all that is bad again and again, in a thread of its own, until the context is left.

    It goes on as fast as it is answered, and as a device may speak: after a few messages it waits for the receipt of an
    update that is refused.
    """

    def __init__(self, actor: Actor, known: Invitation, past: Invitation) -> None:
        self._deeds = list(at_any_time(actor.voice, known, past))
        self._actor, self._known = actor, known
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _send(self) -> None:
        began = time.monotonic()
        for number, deed in enumerate(cycle(self._deeds)):
            if self._ending.is_set() and self.sent >= BARRAGE:
                return
            self._actor.say(deed.topic, *deed.bodies, beside=deed.beside)
            self.sent += len(deed.bodies)
            if number % AT_ONCE == AT_ONCE - 1:
                self._await_an_answer()
                allowed_s = (self.sent + 10 * AT_ONCE - allowance.AT_ONCE) / allowance.A_SECOND
                time.sleep(max(0.0, allowed_s - (time.monotonic() - began)))

    def _await_an_answer(self) -> None:
        (body,) = self._actor.voice.parts(self._known, b"levels", epoch=1)
        self._actor.say(self._actor.voice.topic(Up.UPDATE), body)
        self._actor.await_receipt(unseal(body).id)


class Cast:
    """Everybody who takes part, enrolled; all but the strangers to a window have said that they are there."""

    def __init__(self, stack: ExitStack, federation: Federation) -> None:
        def actor(name: str) -> Actor:
            return stack.enter_context(Actor(federation, name))

        self.members = [actor(f"member-{place}") for place in range(MEMBERS)]
        self.sleeper, self.mallet, self.stranger = actor("sleeper"), actor("mallet"), actor("stranger")
        self.floods = [actor("flood-1"), actor("flood-2")]
        self.actors = [*self.members, self.sleeper, self.mallet, self.stranger, *self.floods]
        for one in self.actors:
            if one is not self.stranger:
                one.enrol()
        for one in (*self.members, self.sleeper):
            one.be_there()
        for place in range(HONEST):
            stack.enter_context(Running(honest(federation, f"honest-{place}")))

    def answer(self, window: int) -> None:
        """The members send what is as good as any."""
        for member in self.members:
            parts = member.voice.parts(member.invited(window), modest(PLAN))
            member.say(member.voice.topic(Up.UPDATE), *parts)


def play(folder: Path) -> Played:
    """Play it in this folder."""
    with ExitStack() as stack:
        federation = stack.enter_context(running(folder, PLAN, MODEL, keep_payloads=False))
        await_gateway(federation)
        cast, records = Cast(stack, federation), Records(federation)
        for window in range(1, CALM + 1):
            cast.answer(window)
        open_one = cast.members[0].invited(CALM + 1)
        before = remembered(federation)
        with ExitStack() as storm:
            past = cast.sleeper.invited(1)
            storms = [storm.enter_context(Barrage(flood, open_one, past)) for flood in cast.floods]
            tried = list(uninvited(cast, open_one, past))
            for one in tried:
                one.do()
            await_endings(tried)
            cast.answer(CALM + 1)
            bad, last, sent = list(contents(PLAN).items()), CALM + 1, sum(one.sent for one in storms)
            while bad:
                last += 1
                tried += disturb(cast, last, bad[:MEMBERS])
                bad = bad[MEMBERS:]
            cast.members[0].invited(last + 1)
            beside = sum(one.sent for one in storms) - sent
        await_endings(tried)
        quiet(records, cast)
        return Played(
            **told(tried, records),
            calm_s=records.seconds(range(2, CALM + 1)),
            disturbed_s=records.seconds(range(CALM + 2, last + 1)),
            resident=before,
            peak={name: peak(federation.processes[name].pid) for name in WATCHED},
            barrage=sum(one.sent for one in storms),
            beside=beside,
            windows=last,
            fallen=tuple(child.name for child in federation.processes.tend()),
            complaints=complaints(folder),
        )


def await_gateway(federation: Federation) -> None:
    """Return once the gateway says that it hears."""
    with Peer(federation.broker.port, "watcher") as watcher:
        watcher.subscribe(topics.state(federation.plan.federation))
        while json.loads(watcher.next().payload)["state"] != "online":
            pass


def uninvited(cast: Cast, known: Invitation, past: Invitation) -> Iterator[Try]:
    """Everything that needs no place in the window that is open."""
    for deed in at_any_time(cast.mallet.voice, known, past):
        yield Try(f"uninvited: {deed.name}", cast.mallet, deed)
    for deed in too_late(cast.sleeper.voice, past):
        yield Try(f"late: {deed.name}", cast.sleeper, deed)
    for deed in of_a_stranger(cast.stranger.voice):
        yield Try(f"stranger: {deed.name}", cast.stranger, deed)


def too_late(voice: Voice, past: Invitation) -> Iterator[Deed]:
    """An update that was invited, for a window that ended too long ago."""
    yield Deed("a stale window", voice.topic(Up.UPDATE), voice.parts(past, modest(PLAN)), refused("stale"))


def of_a_stranger(voice: Voice) -> Iterator[Deed]:
    """What a device says that never enrolled."""
    for kind in (Up.UPDATE, Up.PRESENCE, Up.DECLINE):
        for name, body in {"a good signature": voice.sealed(b"\x80", PURPOSES[kind]), "no signature": b"?"}.items():
            yield Deed(f"{kind}: {name}", voice.topic(kind), (body,), stray("unknown"))


def disturb(cast: Cast, window: int, some: Sequence[tuple[str, tuple[bytes, Ending]]]) -> list[Try]:
    """The members send these contents, one each, and the rest of them what is as good as any."""
    tries = []
    fair = ("", (modest(PLAN), refused("")))
    for member, (name, (payload, ending)) in zip(cast.members, [*some, *[fair] * MEMBERS], strict=False):
        parts = member.voice.parts(member.invited(window), payload)
        one = Try(f"content: {name}", member, Deed(name, member.voice.topic(Up.UPDATE), parts, ending))
        one.do()
        tries += [one] if name else []
    return tries


def await_endings(tried: Sequence[Try]) -> None:
    """Return once every receipt has come that is to come; if one does not, the tests say which."""
    with suppress(queue.Empty):
        for one in tried:
            if one.deed.update is not None:
                one.actor.await_receipt(one.deed.update)


def quiet(records: Records, cast: Cast) -> None:
    """Return once the ledger has counted all that the gateway did not take; if it does not, a test says so."""
    cast.mallet.say(cast.mallet.voice.topic(Up.DECLINE), b"the last of all")
    wait_until(lambda: records.letters(STRAY)[-1]["begins"] == b"the last of all")

    def is_counted() -> bool:
        counted = records.rows("SELECT sum(count) FROM deliveries WHERE kind = 'unauthenticated'")[0][0]
        return bool(counted == sum(letter["reason"] not in UNCOUNTED for letter in records.letters(STRAY)))

    wait_until(is_counted)


UNCOUNTED: Final = frozenset({"orphan"})
"""Strays that are no delivery of an update: a part alone."""


def told(tried: Sequence[Try], records: Records) -> dict[str, Any]:
    """What the receipts, the ledger and the dead letters say."""
    letters = records.letters(STRAY)
    strays = Counter((one["topic"], one["size"], one["begins"], one["reason"]) for one in letters)
    for actor in {one.actor for one in tried}:
        actor.listen()
    receipts = {
        one.name: one.actor.receipts.get(one.deed.update, set()) for one in tried if one.deed.update is not None
    }
    rows = records.rows("SELECT device, named_window FROM updates WHERE device LIKE 'honest-%' AND outcome = 'counted'")
    return {
        "endings": {one.name: list(records.endings(one, strays)) for one in tried},
        "expected": {one.name: one.deed.ending for one in tried},
        "honest": set(rows),
        "receipts_that_changed": sum(len(bodies) != 1 for bodies in receipts.values()),
        "receipts_without_why": {name for name, bodies in receipts.items() if not all(map(says_why, bodies))},
        "deliveries": dict(records.rows("SELECT kind, count FROM deliveries")),
        "updates": records.rows("SELECT count(*) FROM updates")[0][0],
        "strays": Counter(letter["reason"] for letter in letters),
        "audited": records.rows("SELECT count(*) FROM audit WHERE action = 'delivery.unauthenticated'")[0][0],
        "dead": records.letters(DEAD),
    }


def says_why(sealed: bytes) -> bool:
    """Whether a receipt that refuses says why, in a sentence."""
    outcome = decode(unseal(sealed).header, Receipt).outcome
    return not isinstance(outcome, Refused) or bool(outcome.why)


def remembered(federation: Federation) -> dict[str, int]:
    """What each process holds; from now on its peak is counted anew."""
    pids = {name: federation.processes[name].pid for name in WATCHED}
    for pid in pids.values():
        forget_peak(pid)
    return {name: resident(pid) for name, pid in pids.items()}


def complaints(folder: Path) -> list[str]:
    """Lines of the services' logs that say that something broke."""
    lines = [line for log in sorted((folder / "log").glob("*.log")) for line in log.read_text().splitlines()]
    return [line for line in lines if any(word in line for word in ("Traceback", '"level": "error"', "begin again"))]


def honest(federation: Federation, name: str) -> Device:
    """A device of the library, as an owner writes it: it adds a little to every weight."""
    device = Device(federation.broker_url, federation.homes / name, token=federation.founded.token(name))

    @device.train
    def train(task: Task) -> object:
        task.weights["weight"] += 0.001
        return task.weights

    return device


def somebody() -> Invitation:
    """An invitation that stands for any: what deeds are called does not depend on it."""
    base = ModelRef(version=0, digest=PLAN.model.digest, size=PLAN.model.size)
    return Invitation(
        federation=PLAN.federation,
        device="member-0",
        window=CALM + 1,
        base=base,
        plan=PLAN.digest,
        epoch=0,
        deadline=1,
        seed=bytes(32),
        bound=bound_of(PLAN),
    )


def names() -> list[str]:
    """The names of all deeds, before anything is played."""
    anybody, known = Voice("mallet", PLAN), somebody()
    return [
        *(f"uninvited: {deed.name}" for deed in at_any_time(anybody, known, known)),
        *(f"late: {deed.name}" for deed in too_late(anybody, known)),
        *(f"stranger: {deed.name}" for deed in of_a_stranger(anybody)),
        *(f"content: {name}" for name in contents(PLAN)),
    ]


def wait_until(claim: Callable[[], bool], timeout_s: float = 90.0) -> None:
    """Return once it is so, or time is up; the ledger and Redis have no way to say when."""
    until = time.monotonic() + timeout_s
    while not claim() and time.monotonic() < until:
        time.sleep(0.02)
