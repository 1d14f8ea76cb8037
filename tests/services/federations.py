"""A small federation in a real ledger on disk: four parameters, three devices a window, two of them a quorum."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Table, select

from mizzle import manifest
from mizzle.accounting import sentence
from mizzle.codec import decode
from mizzle.device.enrol import parse, sealed_enrolment
from mizzle.envelope import Key, Purpose, seal, unseal
from mizzle.messages import (
    Abandonment,
    Aggregate,
    Answer,
    BlobRef,
    Candidate,
    Enrolment,
    Member,
    Message,
    Opening,
    Outcome,
    Receipt,
    Refused,
    Release,
    Update,
    Verdict,
    Window,
)
from mizzle.moves import Ground, Told
from mizzle.plan import Plan
from mizzle.terms import bound_of, mechanism_of
from services.ledger import keys
from services.ledger.engine import reading
from services.ledger.founding import Founded, found
from services.ledger.ledger import Ledger
from services.ledger.tables import METADATA, UPDATES
from services.privacy_accountant.book import book
from services.runtime.service import Booking
from tests.services.plans import MODEL, plan

DEVICES = ("pump-1", "pump-2", "pump-3", "pump-4")


@dataclass
class Federation:
    """A federation, its keys, and the accountant that writes its ledger."""

    folder: Path
    plan: Plan
    founded: Founded
    ledger: Ledger
    ground: Ground
    epoch: int
    device_keys: dict[str, Key] = field(default_factory=dict)
    entries: count[int] = field(default_factory=lambda: count(1))

    def book(self, *messages: Message, attached: Mapping[bytes, bytes] | None = None) -> list[Message]:
        """What the accountant says to these messages, booked in one batch."""
        return self.booked([self.booking(message, attached) for message in messages])

    def booking(self, message: Message, attached: Mapping[bytes, bytes] | None = None) -> Booking:
        """The next entry of the stream `judged`."""
        return Booking(Told(message, attached or {}), "judged", f"{next(self.entries)}-0")

    def booked(self, bookings: Sequence[Booking]) -> list[Message]:
        """What the accountant says to these bookings."""
        return book(self.ledger, self.ground, self.epoch, bookings)

    def begin_again(self) -> None:
        """A new process of the accountant: it opens the ledger, and takes its place."""
        self.ledger = Ledger.open(str(self.ledger.engine.url), self.ledger.federation)
        self.epoch = self.ledger.issue_epoch("privacy_accountant")

    def enrolment(self, device: str, key: Key | None = None) -> Enrolment:
        """What a device says that has a new token."""
        self.device_keys[device] = key or Key(hashlib.sha256(device.encode()).digest())
        sealed = sealed_enrolment(parse(self.founded.token(device)), self.device_keys[device], counter=1)
        return decode(unseal(sealed).header, Enrolment)

    def enrol(self, *devices: str) -> None:
        """Let these devices belong."""
        self.book(*(self.enrolment(device) for device in devices))

    def open(self, cohort: Sequence[str] = DEVICES[:3], after: int = 0) -> Window:
        """Open the window that follows `after`."""
        return next(said for said in self.book(opening(after, cohort)) if isinstance(said, Window))

    def filled(self, cohort: Sequence[str] = DEVICES[:3], after: int = 0) -> tuple[Window, list[Verdict]]:
        """An open window that its whole cohort has sent an update to."""
        window = self.open(cohort, after)
        verdicts = [self.verdict(device, window) for device in window.cohort]
        self.charge(*verdicts)
        return window, verdicts

    def charge(self, *verdicts: Verdict) -> None:
        """Admit these updates."""
        self.book(*verdicts)

    def verdict(  # noqa: PLR0913  # a verdict is told by name
        self,
        device: str,
        window: Window,
        *,
        nonce: int = 0,
        refused: str | None = None,
        plan: bytes | None = None,
        base: bytes | None = None,
        epoch: int = 0,
    ) -> Verdict:
        """The verdict on an update that `device` has signed for `window`."""
        update = Update(
            federation="pumps",
            device=device,
            window=window.number,
            base=base or window.base.digest,
            plan=plan or self.plan.digest,
            nonce=nonce.to_bytes(16, "big"),
            payload=BlobRef(digest=bytes(32), size=1),
        )
        sealed = seal(update, Purpose.UPDATE, self.device_keys[device], epoch=epoch, counter=nonce)
        decided_by = "norm" if refused else "history"
        return Verdict(
            id=unseal(sealed).id, update=update, sealed=sealed, decided_by=decided_by, score=0.5, refused=refused
        )

    def candidate(
        self, window: Window, members: Sequence[Verdict], *, weight: int | None = None, sigma: int | None = None
    ) -> tuple[Candidate, dict[bytes, bytes]]:
        """The candidate of a window with these members, and the bytes that it is about."""
        return self.candidate_of(window, [verdict.id for verdict in members], weight=weight, sigma=sigma)

    def candidate_of(
        self, window: Window, members: Sequence[bytes], *, weight: int | None = None, sigma: int | None = None
    ) -> tuple[Candidate, dict[bytes, bytes]]:
        """The same of their ids; a member has the weight that the ledger has, unless one is given."""
        weights = {row["id"]: row["weight"] for row in self.rows(UPDATES)}
        total, model = b"total of %d" % window.number, b"model of %d" % window.number
        planned = mechanism_of(self.plan).sigma(64, bound_of(self.plan))
        aggregate = Aggregate(
            window=window.number,
            base=window.base,
            members=tuple(Member(id=one, weight=weight or weights.get(one, 64)) for one in members),
            arrived=len(members),
            spent=1,
            sigma=sigma or planned,
            noise_key=b"",
            total=reference(total),
            model=reference(model),
        )
        release = self.release(aggregate)
        return Candidate(release=release, aggregate=aggregate), {
            reference(body).digest: body for body in (total, model)
        }

    def release(self, aggregate: Aggregate, role: str = "release", **claims: Any) -> Release:
        """The release of an aggregate, signed by the key of this role; its manifest says what `claims` say."""
        key, privacy = keys.read(self.folder / "keys", role), self.plan.privacy
        latest = self.ledger.releases(1)
        said = manifest.Manifest(
            schema=1,
            federation="pumps",
            version=aggregate.base.version + 1,
            window=aggregate.window,
            members=len(aggregate.members),
            model=manifest.ModelFile(
                digest=aggregate.model.digest.hex(), size=aggregate.model.size, format="safetensors"
            ),
            plan=self.plan.digest.hex(),
            previous=latest[0].manifest_digest.hex() if latest else None,
            issued=manifest.moment(1),
            expires=manifest.moment(2),
            privacy=manifest.Privacy(epsilon=1.0, delta=privacy.delta, sentence=sentence(1.0, privacy.delta)),
        )
        said = msgspec.structs.replace(said, **claims)
        signed = manifest.sign(said, key.sign, key.public_key)
        return Release(
            version=said.version,
            window=aggregate.window,
            manifest=signed,
            manifest_digest=hashlib.sha256(signed).digest(),
            model=aggregate.model,
        )

    def run(self, cohort: Sequence[str] = DEVICES[:3], after: int = 0) -> Window:
        """A window that is opened, filled by its cohort and released."""
        window, verdicts = self.filled(cohort, after)
        candidate, attached = self.candidate(window, verdicts)
        self.book(candidate, attached=attached)
        return window

    def give_up(self, window: Window) -> list[Message]:
        """What is said when a window is abandoned."""
        return self.book(Abandonment(window=window.number, arrived=0, quorum=2))

    def receipt(self, said: Message) -> Receipt:
        """The receipt in an answer, its signature checked."""
        assert isinstance(said, Answer)
        envelope = unseal(said.sealed)
        envelope.verify(self.founded.public_keys["receipt"])
        return decode(envelope.header, Receipt)

    def outcomes(self, said: Sequence[Message]) -> dict[bytes, Outcome]:
        """How the updates ended whose receipts are among what is said."""
        receipts = [self.receipt(one) for one in said if isinstance(one, Answer)]
        return {receipt.update: receipt.outcome for receipt in receipts}

    def reasons(self, said: Sequence[Message]) -> list[str]:
        """Why updates were refused, in the order in which it is said."""
        return [outcome.reason for outcome in self.outcomes(said).values() if isinstance(outcome, Refused)]

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """All rows of a table."""
        with reading(self.ledger.engine) as tx:
            return [dict(row) for row in tx.execute(select(table)).mappings()]

    def row(self, table: Table, **where: object) -> dict[str, Any]:
        """The one row of a table with these values."""
        (found,) = [row for row in self.rows(table) if all(row[name] == value for name, value in where.items())]
        return found

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        """Every row of the ledger; how far deliveries are counted left out."""
        skipped = ("deliveries", "positions")
        return {table.name: self.rows(table) for table in METADATA.sorted_tables if table.name not in skipped}


def opening(after: int, cohort: Sequence[str]) -> Opening:
    """A request for the window that follows `after`."""
    return Opening(after=after, cohort=tuple(cohort), seed=bytes([after + 1]) * 32, at=1_000_000)


def reference(body: bytes) -> BlobRef:
    """What names these bytes."""
    return BlobRef(digest=hashlib.sha256(body).digest(), size=len(body))


def federation(folder: Path, wanted: Plan | None = None, enrol: Sequence[str] = DEVICES) -> Federation:
    """A federation in `folder` to which these devices belong."""
    wanted = wanted or plan()
    url = f"sqlite:///{folder / 'ledger.db'}"
    founded = found(url, wanted, MODEL, folder / "keys")
    ledger = Ledger.open(url, "pumps")
    ground = Ground(wanted, MODEL, keys.read(folder / "keys", "receipt"), lambda _: b"")
    epoch = ledger.issue_epoch("privacy_accountant")
    made = Federation(folder, wanted, founded, ledger, ground, epoch)
    if enrol:
        made.enrol(*enrol)
    return made
