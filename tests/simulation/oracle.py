"""What must be true: at every instant of a run, and once everything has come to rest. A violation is said in words."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import text

from mizzle.codec import decode
from mizzle.envelope import Purpose, unseal
from mizzle.errors import Unreadable
from mizzle.grid import GAIN
from mizzle.messages import Counted, Receipt
from mizzle.terms import mechanism_of
from services.ledger.conservation import accounts
from services.ledger.engine import reading
from services.privacy_accountant.charge import terms_of
from tests.simulation.fleet_plan import Founding

if TYPE_CHECKING:
    from tests.simulation.devices import Device

WRITER = "privacy_accountant"


class Violation(AssertionError):
    """A promise is broken; the text says which one, where, and by what."""


@dataclass(frozen=True)
class Books:
    """What the ledger holds at one instant: of updates and windows only those that have ended."""

    ended: Mapping[bytes, tuple[Any, ...]]
    charges: Mapping[bytes, tuple[Any, ...]]
    budgets: Mapping[str, tuple[int, int]]
    windows: Mapping[int, tuple[Any, ...]]
    open: Sequence[int]
    releases: Mapping[int, tuple[Any, ...]]


@dataclass
class Oracle:
    """Knows what was issued, taken and kept; looks at the ledger after every `every`-th booking."""

    founding: Founding
    every: int = 1
    epochs: Counter[str] = field(default_factory=Counter)
    holders: Counter[str] = field(default_factory=Counter)
    updates: dict[bytes, str] = field(default_factory=dict)
    looks: int = 0
    _bookings: int = 0
    _before: Books | None = None

    def issued(self, service: str, epoch: int) -> None:
        """The ledger issued an epoch."""
        if epoch <= self.epochs[service]:
            raise Violation(f"{service} was issued epoch {epoch} after epoch {self.epochs[service]}: it fences nobody")
        self.epochs[service] = epoch

    def took(self, service: str, epoch: int) -> None:
        """A place was taken in this epoch."""
        self.holders[service] = max(self.holders[service], epoch)

    def committed(self, process: str, service: str, epoch: int) -> None:
        """A stage's commit took effect (I6)."""
        if epoch < self.holders[service]:
            holder = self.holders[service]
            raise Violation(
                f"{process} of epoch {epoch} wrote to the streams, and epoch {holder} held its place by then"
            )

    def booked(self, process: str, service: str, epoch: int) -> None:
        """The ledger was written (I6, and all that must hold of a ledger at every instant)."""
        if service != WRITER or epoch != self.epochs[WRITER]:
            newest = self.epochs[WRITER]
            raise Violation(f"{process} wrote to the ledger in epoch {epoch}, and epoch {newest} had been issued")
        self._bookings += 1
        if self._bookings % self.every == 0:
            self.look()

    def kept(self, device: str, update: bytes) -> None:
        """An update entered its device's outbox."""
        self.updates[update] = device

    def look(self) -> None:
        """Raise `Violation` unless the ledger is what it must be at any instant, and follows what it was before."""
        self.looks += 1
        with reading(self.founding.ledger.engine) as tx:
            found = accounts(tx, self.founding.plan.federation)
            now = _books(tx)
        if found.difference:
            raise Violation(f"conservation: {found.difference} updates or deliveries are not accounted for: {found}")
        _refuse_wrong_sums(now)
        _refuse_overspent(now, terms_of(self.founding.plan).limit)
        _refuse_second_open(now)
        if self._before is not None:
            _refuse_changed(self._before, now)
        self._before = now

    def lost(self, devices: Iterable["Device"]) -> list[str]:
        """The updates that no device waits for an answer to, and that no device has an answer to: gone."""
        there = {waiting.id for device in devices for waiting in device.outbox.waiting()}
        there |= {receipt.update for device in devices for receipt, _ in _receipts(device)}
        return [f"{one.hex()[:16]} of {device}" for one, device in self.updates.items() if one not in there]

    def rest(self, devices: Sequence["Device"]) -> None:
        """Raise `Violation` unless every update that ever entered an outbox has ended, and its device knows how."""
        self.look()
        if gone := self.lost(devices):
            raise Violation(f"lost: {len(gone)} updates have left their outboxes without a receipt: {gone[0]}")
        waiting = [(device.name, one.id) for device in devices for one in device.outbox.waiting()]
        if waiting:
            name, one = waiting[0]
            row = self._row(one)
            text = f"no answer: {len(waiting)} updates wait for an outcome and get none"
            raise Violation(f"{text}, among them {one.hex()[:16]} of {name}, which the ledger has as {row}")
        held = [(device.name, *found) for device in devices for found in _receipts(device)]
        for name, receipt, sealed in held:
            self._refuse_foreign(name, receipt, sealed)
        self._refuse_miscounted(held)

    def _row(self, update: bytes) -> str:
        with reading(self.founding.ledger.engine) as tx:
            row = tx.execute(
                text('SELECT outcome, "window", reason FROM updates WHERE id = :id'), {"id": update}
            ).first()
        return str(tuple(row)) if row else "unknown"

    def _refuse_foreign(self, name: str, receipt: Receipt, sealed: bytes) -> None:
        """A receipt that a device holds is the very one that the ledger holds (I1)."""
        ended = self._before.ended.get(receipt.update) if self._before else None
        if ended is None:
            raise Violation(f"{name} holds a receipt for {receipt.update.hex()[:16]} without an outcome in the ledger")
        if ended[-1] != sealed:
            raise Violation(f"{name}'s receipt for {receipt.update.hex()[:16]} has other bytes than the ledger's")

    def _refuse_miscounted(self, held: Sequence[tuple[str, Receipt, bytes]]) -> None:
        """Each opened sum holds in each coordinate exactly what its device holds receipts `counted` for."""
        mechanism, size = mechanism_of(self.founding.plan), self.founding.wish.side
        with reading(self.founding.ledger.engine) as tx:
            rows = tx.execute(
                text(
                    "SELECT r.version, r.sigma, r.noise_key, b.body FROM releases r JOIN blobs b"
                    " ON b.digest = r.total_digest ORDER BY r.version"
                )
            ).all()
        promised = {row.version: np.zeros(size, np.int64) for row in rows}
        for name, receipt, _ in held:
            match receipt.outcome:
                case Counted(release=version, weight=weight):
                    promised[version][self.founding.coordinate(name)] += weight * self.founding.ones
        for row in rows:
            noise = mechanism.noise(row.noise_key, GAIN * row.sigma, size)
            total = np.frombuffer(row.body, "<i8") - noise
            wrong = np.flatnonzero(total != promised[row.version])
            if wrong.size:
                place, one = int(wrong[0]), 64 * self.founding.ones
                holds, due = total[place] / one, promised[row.version][place] / one
                raise Violation(f"one-hot: release {row.version} holds {holds:g} of drop-{place}, receipts say {due:g}")


def _receipts(device: "Device") -> list[tuple[Receipt, bytes]]:
    """What the device's outbox keeps that is a receipt."""
    found = []
    for sealed in device.outbox.receipts():
        try:
            envelope = unseal(sealed)
        except Unreadable:
            continue
        if envelope.purpose is Purpose.RECEIPT:
            found.append((decode(envelope.header, Receipt), sealed))
    return found


def _books(tx: Any) -> Books:
    def rows(query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in tx.execute(text(query))]

    ended = rows("SELECT id, outcome, reason, version, receipt FROM updates WHERE outcome <> 'open'")
    charges = rows('SELECT "update", device, loss, state FROM charges')
    windows = rows("SELECT number, state, version, ended_at FROM windows")
    releases = rows('SELECT version, "window", manifest_digest, total_digest, members FROM releases')
    return Books(
        ended={row[0]: row[1:] for row in ended},
        charges={row[0]: row[1:] for row in charges},
        budgets={row[0]: (row[1], row[2]) for row in rows("SELECT device, settled, reserved FROM budgets")},
        windows={row[0]: row[1:] for row in windows if row[1] != "open"},
        open=[row[0] for row in windows if row[1] == "open"],
        releases={row[0]: row[1:] for row in releases},
    )


def _refuse_wrong_sums(now: Books) -> None:
    """A budget is the sum of what its device's updates cost, each once."""
    sums: Counter[tuple[str, str]] = Counter()
    for device, loss, state in now.charges.values():
        sums[device, state] += loss
    for device, spent in now.budgets.items():
        costs = sums[device, "settled"], sums[device, "reserved"]
        if spent != costs:
            raise Violation(f"charges: {device}'s budget has (settled, reserved) = {spent}, its updates cost {costs}")


def _refuse_overspent(now: Books, limit: int) -> None:
    for device, spent in now.budgets.items():
        if sum(spent) > limit:
            raise Violation(f"budget: {device} has spent and reserved {sum(spent)}, at most {limit} may be")


def _refuse_second_open(now: Books) -> None:
    """At most one window is open, and it is the newest (I9)."""
    if len(now.open) > 1 or (now.open and now.windows and now.open[0] < max(now.windows)):
        raise Violation(f"windows {now.open} are open, and the newest that has ended is {max(now.windows, default=0)}")


def _refuse_changed(before: Books, now: Books) -> None:
    """What has ended stays as it ended; what is settled stays settled, at the same price (I1, I9, I18)."""
    pairs: tuple[tuple[str, Mapping[Any, tuple[Any, ...]], Mapping[Any, tuple[Any, ...]]], ...] = (
        ("update", before.ended, now.ended),
        ("window", before.windows, now.windows),
        ("release", before.releases, now.releases),
        ("charge", {key: row for key, row in before.charges.items() if row[-1] == "settled"}, now.charges),
    )
    for what, old, new in pairs:
        for key, row in old.items():
            if new.get(key) != row:
                name = key.hex()[:16] if isinstance(key, bytes) else key
                raise Violation(f"closed is closed: {what} {name} was {row[:3]}, is {(new.get(key) or ())[:3]}")
