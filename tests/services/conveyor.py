"""From an update's payload to a release and its receipts: the services' own pure steps over a real ledger on disk.

Everything that the selector, the accountant, the aggregator and the releaser say or book is taken where the pipeline
takes it, in the order in which it is said. Time and the keys of the noise come from the test.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mizzle.codec import decode
from mizzle.envelope import Purpose, seal, unseal
from mizzle.grid import GAIN, Integers, Levels, Vector, add, rotate_back
from mizzle.messages import (
    Answer,
    BlobRef,
    Candidate,
    Closed,
    Decline,
    Invitation,
    Message,
    Presence,
    Receipt,
    Update,
    Verdict,
    Window,
    refers_to,
)
from mizzle.moves import Event, Ground, Moved, Tick, Told
from mizzle.plan import Plan
from mizzle.terms import bound_of, codec_of, grid_of, mechanism_of
from services.aggregator import combine
from services.ledger import conservation, keys
from services.ledger.engine import reading
from services.ledger.tables import RELEASES
from services.pipeline import hears, hop
from services.releaser import release
from services.selector import invite
from tests.services.federations import Federation, federation, opening
from tests.services.plans import MODEL

NOW = 1_000_000
"""The instant at which windows open, in milliseconds."""

STEPS: dict[str, Callable[[Ground, Any, Event], Moved[Any]]] = {
    "selector": invite.step,
    "aggregator": combine.step,
    "releaser": release.step,
}
BEGIN: dict[str, Callable[[Ground], Any]] = {
    "selector": invite.begin,
    "aggregator": combine.begin,
    "releaser": release.begin,
}


@dataclass
class Conveyor:
    """A federation whose updates are carried on until nothing is left to say; `closed` are its windows' ends."""

    ledger: Federation
    grounds: dict[str, Ground]
    states: dict[str, Any]
    store: dict[bytes, bytes] = field(default_factory=dict)
    windows: list[Window] = field(default_factory=list)
    closed: list[Closed] = field(default_factory=list)
    invited: list[Invitation] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    sent: set[tuple[str, int]] = field(default_factory=set)
    selects: bool = False

    def open(self, cohort: Sequence[str]) -> Window:
        """The window after the newest, with this cohort."""
        self.carry(booked=[opening(len(self.windows), cohort)])
        return self.windows[-1]

    def tick(self, seconds: float = 0, entropy: str = "noise", only: str = "") -> None:
        """Let time pass for every service or for this one, so many seconds after `NOW`."""
        moment = Tick(NOW + round(seconds * 1000), hashlib.sha256(entropy.encode()).digest())
        for service in (only,) if only else STEPS:
            self._step(service, moment, queue := deque[tuple[bool, Message]]())
            self._carry(queue)

    def send(self, device: str, window: Window, change: Vector | None = None, *, refused: str | None = None) -> Verdict:
        """An update of `device` that was coded for `window`, on its way until nothing is left to say."""
        verdict = self.verdict(device, window, change, refused=refused)
        self.sent.add((device, window.number))
        self.carry(booked=[verdict])
        return verdict

    def verdict(
        self, device: str, window: Window, change: Vector | None = None, *, refused: str | None = None
    ) -> Verdict:
        """The verdict on an update, whose payload is in the store."""
        plan, grid = self.ledger.plan, grid_of(self.ledger.plan)
        change = one_hot(len(self.store) % grid.size) if change is None else change
        draw = hashlib.shake_256(change.tobytes()).digest
        payload = codec_of(plan).encode(change, grid, window.seed, bound_of(plan), draw)
        update = Update(
            federation=plan.federation,
            device=device,
            window=window.number,
            base=window.base.digest,
            plan=plan.digest,
            nonce=hashlib.sha256(f"{device} {window.number}".encode()).digest()[:16],
            payload=BlobRef(digest=hashlib.sha256(payload).digest(), size=len(payload)),
        )
        sealed = seal(update, Purpose.UPDATE, self.ledger.device_keys[device], epoch=0, counter=window.number)
        name = unseal(sealed).id
        self.store[name] = payload
        return Verdict(id=name, update=update, sealed=sealed, decided_by="norm", score=0.5, refused=refused)

    def hear(self, *messages: Presence | Decline) -> None:
        """Let the selector hear what devices say of themselves."""
        self.carry(said=messages)

    def carry(self, *, said: Iterable[Message] = (), booked: Iterable[Message] = ()) -> None:
        """Take all of this where it goes, and everything that comes of it."""
        self._carry(deque([*((False, one) for one in said), *((True, one) for one in booked)]))

    def outcomes(self) -> dict[bytes, object]:
        """How updates ended, by their receipts; the same whenever one is said again."""
        found: dict[bytes, object] = {}
        for receipt in self.receipts:
            assert found.setdefault(receipt.update, receipt.outcome) == receipt.outcome
        return found

    def difference(self) -> int:
        """How many updates are not accounted for."""
        with reading(self.ledger.ledger.engine) as tx:
            return conservation.accounts(tx, self.ledger.plan.federation).difference

    def sums(self) -> list[list[int]]:
        """The noised sum of every release, in their order."""
        rows = sorted(self.ledger.rows(RELEASES), key=lambda row: int(row["version"]))
        return [np.frombuffer(self._blob(row["total_digest"]), "<i8").tolist() for row in rows]

    def models(self) -> list[bytes]:
        """The model of every release, in their order."""
        rows = sorted(self.ledger.rows(RELEASES), key=lambda row: int(row["version"]))
        return [self._blob(row["model_digest"]) for row in rows]

    def _blob(self, digest: bytes) -> bytes:
        blob = self.ledger.ledger.blob(digest)
        assert blob is not None
        return blob

    def _carry(self, queue: deque[tuple[bool, Message]]) -> None:
        while queue:
            is_booked, message = queue.popleft()
            if is_booked:
                attached = self._attached(message) if isinstance(message, Candidate) else None
                queue.extend((False, one) for one in self.ledger.book(message, attached=attached))
                assert self.difference() == 0
                continue
            self._note(message)
            for service in STEPS:
                if type(message) in hears(hop(service)) and (self.selects or service != "selector"):
                    self._step(service, Told(message, self._attached(message)), queue)

    def _step(self, service: str, event: Told | Tick, queue: deque[tuple[bool, Message]]) -> None:
        if service == "selector" and not self.selects:
            return
        moved = STEPS[service](self.grounds[service], self.states[service], event)
        self.states[service] = moved.state
        self.store |= {hashlib.sha256(body).digest(): body for body in moved.kept}
        queue.extend((True, one) for one in moved.booked)
        queue.extend((False, one) for one in moved.said)

    def _attached(self, message: Message) -> dict[bytes, bytes]:
        found = {key: self.store.get(key) or self.ledger.ledger.blob(key) for key in refers_to(message)}
        return {key: body for key, body in found.items() if body is not None}

    def _note(self, message: Message) -> None:
        match message:
            case Window() if message not in self.windows:
                self.windows.append(message)
            case Closed():
                self.closed.append(message)
            case Answer(kind="receipt"):
                self.receipts.append(self.ledger.receipt(message))
            case Answer(kind="invitation", sealed=sealed):
                self.invited.append(decode(unseal(sealed).header, Invitation))


def conveyor(folder: Path, plan: Plan, devices: Sequence[str], *, selects: bool = False) -> Conveyor:
    """A federation in `folder` to which these devices belong; with `selects` its windows are opened by the selector."""
    folder.mkdir(exist_ok=True)
    ours = federation(folder, plan, devices)
    roles = {"selector": "invitation", "aggregator": "release", "releaser": "release"}
    grounds = {
        service: Ground(plan, MODEL, keys.read(folder / "keys", role), lambda _: b"") for service, role in roles.items()
    }
    states = {service: BEGIN[service](grounds[service]) for service in STEPS}
    return Conveyor(ours, grounds, states, selects=selects)


def one_hot(place: int) -> Vector:
    """A change of one of the four parameters that the codec of these plans writes without any rounding."""
    change = np.zeros(4)
    change[place] = 0.5
    return change


def names(count: int) -> tuple[str, ...]:
    """So many devices."""
    return tuple(f"pump-{number}" for number in range(1, count + 1))


def present(device: str, *, online: bool = True) -> Presence:
    """A device is there, or has gone."""
    return Presence(federation="pumps", device=device, online=online, examples=9)


def spread(number: int) -> Vector:
    """Some change of all parameters, another one for each number."""
    return np.random.default_rng(number).normal(size=4) / 8


def without_noise(ours: Conveyor, noised: Sequence[int], entropy: str = "noise") -> list[int]:
    """A noised sum without its noise, which is derived again from the tick's bytes."""
    plan = ours.ledger.plan
    mechanism, key = mechanism_of(plan), hashlib.sha256(entropy.encode()).digest()
    noise: Integers = mechanism.noise(key, GAIN * mechanism.sigma(64, bound_of(plan)), 4)
    return [int(total) for total in np.asarray(noised) - noise]


def by_hand(ours: Conveyor, verdict: Verdict, window: Window, weight: int) -> Integers:
    """What an update that was coded for `window` adds to a sum with this weight, turned back by itself."""
    grid, plan = grid_of(ours.ledger.plan), ours.ledger.plan
    levels = codec_of(plan).decode(ours.store[verdict.id], grid)
    assert isinstance(levels, Levels)
    turned = np.zeros(grid.padded, np.int64)
    add(turned, levels, weight)
    return rotate_back(grid, turned, window.seed)
