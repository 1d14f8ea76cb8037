"""A federation's ledger as a service holds it: what it reads, the epochs it takes, and the one way to write."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from mizzle.errors import Misconfigured, Superseded
from mizzle.plan import Plan, from_canonical
from services.ledger import audit, blobs, enrolments, federations, leases, releases, restorations, updates, windows
from services.ledger.engine import answering, checkpoint, connect, is_replaced, reading, writing
from services.ledger.facts import facts
from services.ledger.past import RETENTION_MS
from services.ledger.tables import REVISION

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy import Connection, Engine

    from mizzle.messages import Message, Release

WRITER = "privacy_accountant"
"""The one service that writes."""


@dataclass(frozen=True)
class Ledger:
    """One federation in a ledger; several threads may ask it at once.

    Rows of updates stay for `retention_ms` after their receipts.
    """

    federation: str
    engine: Engine = field(repr=False)
    _written: federations.Federation = field(repr=False)
    retention_ms: int = RETENTION_MS
    _device_keys: dict[str, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, url: str, federation: str, retention_ms: int = RETENTION_MS) -> Ledger:
        """The ledger of `federation` at `url`.

        Raises:
            Misconfigured: there is none, its tables are of another version, or it knows no such federation.
        """
        engine = connect(url)
        refuse_other_tables(engine)
        with reading(engine) as tx:
            return cls(federation, engine, federations.find(tx, federation), retention_ms)

    @property
    def name(self) -> str:
        """A random name that no other ledger has, so that its Redis keys meet nobody else's."""
        return self._written.ledger

    @property
    def epoch(self) -> int:
        """The parameter epoch."""
        return self._written.epoch

    def plan(self) -> Plan:
        """The plan that the federation works by."""
        return from_canonical(self._written.plan)

    def model(self) -> bytes:
        """The plan's first model, version 0."""
        model = self.blob(self._written.model_digest)
        if model is None:
            raise Misconfigured(f"the ledger has lost the first model of {self.federation!r}: restore a backup")
        return model

    def issue_epoch(self, service: str, held: int = 0) -> int:
        """The next epoch of this service's place; whoever held the place before has lost it.

        Whoever begins takes the place; whoever begins again, having `held` it in that epoch, gets it only where nobody
        came after. The writer begins with a short log: what was left in it is folded into the ledger's file.

        Raises:
            Superseded: a successor was given the place after epoch `held`, or the ledger goes by another name since it
                was opened.
        """
        with writing(self.engine) as tx:
            if not self._goes_by_its_name(tx):
                text = f"the ledger of {self.federation} was marked as restored since {service} opened it"
                raise Superseded(f"{text}, and what Redis has under the old name is not its own: start again")
            holder = f"{socket.gethostname()}:{os.getpid()}"
            epoch = leases.issue(tx, self._place(service), holder, round(time.time() * 1000), held)
        if service == WRITER:
            checkpoint(self.engine)
        return epoch

    def is_older_than(self, service: str, epoch: int) -> bool:
        """Whether the service's place was issued in this epoch by a newer ledger; then this one is marked as restored.

        Somebody has put it back by hand. It is the second small transaction of a service that is not the writer: like
        the epochs, this must be written before the writer can be.
        """
        with writing(self.engine) as tx:
            if (issued := leases.newest(tx, self._place(service))) >= epoch:
                return False
            body = {"why": f"epoch {epoch} of {service} was found in Redis, {issued} is the newest one issued here"}
            now = round(time.time() * 1000)
            act = audit.Act(self.federation, now, service, restorations.RESTORED, self.federation, body)
            restorations.mark(tx, self.federation, act)
            return True

    def is_another(self) -> bool:
        """Whether this is not the ledger that was opened: it was marked as restored since, or its file was replaced."""
        with reading(self.engine) as tx:
            return is_replaced(tx) or not self._goes_by_its_name(tx)

    def facts(self) -> list[Message]:
        """How things stand, as a service that resumes is told it."""
        with reading(self.engine) as tx:
            return list(facts(tx, self.plan()))

    def blob(self, digest: bytes) -> bytes | None:
        """The bytes with this digest; None if they are not here."""
        with reading(self.engine) as tx:
            return blobs.get(tx, digest)

    def device_key(self, device: str) -> bytes | None:
        """The key that this device enrolled with, which never changes; None while it does not belong."""
        if device not in self._device_keys:
            with reading(self.engine) as tx:
                found = enrolments.device(tx, self.federation, device)
            if found is None:
                return None
            self._device_keys[device] = found.public_key
        return self._device_keys[device]

    def receipt(self, update: bytes) -> bytes | None:
        """The very bytes of the receipt that ended this update; None while it has not ended, or is not known."""
        with reading(self.engine) as tx:
            row = updates.find(tx, update)
        return row.receipt if row is not None and row.outcome != "open" else None

    def unneeded(self, payloads: Collection[bytes]) -> set[bytes]:
        """Those of these updates whose payload nobody reads again: they have ended, and so has each one's window."""
        with reading(self.engine) as tx:
            last = windows.last(tx, self.federation)
            open_one = last.window.number if last is not None and last.is_open else None
            rows = updates.of_ids(tx, payloads).values()
        return {row.id for row in rows if row.outcome != "open" and not row.may_leave(open_one)}

    def has_open_window(self) -> bool:
        """Whether a window is open."""
        with reading(self.engine) as tx:
            last = windows.last(tx, self.federation)
        return last is not None and last.is_open

    def server_key(self, role: str) -> bytes | None:
        """The federation's public key of this role; None if there is none."""
        with reading(self.engine) as tx:
            keys = federations.server_keys(tx, self.federation)
        return next((key.public_key for key in keys if key.role == role), None)

    def releases(self, last: int) -> list[Release]:
        """The newest releases, at most `last` of them, newest last."""
        with reading(self.engine) as tx:
            return releases.newest(tx, self.federation, last)

    @contextmanager
    def write(self, service_epoch: int) -> Iterator[Connection]:
        """A transaction of the one writer, whose place was issued to it in this epoch.

        Raises:
            Fenced: the place was issued to a successor since.
            Away: the file cannot be written.
        """
        with writing(self.engine) as tx:
            leases.check(tx, self._place(WRITER), service_epoch)
            yield tx

    def _goes_by_its_name(self, tx: Connection) -> bool:
        return federations.name(tx, self.federation) == self.name

    def _place(self, service: str) -> str:
        return f"{self.federation}/{service}"


def refuse_other_tables(engine: Engine) -> None:
    """Return if the ledger's tables are those of this program.

    Raises:
        Misconfigured: they are older, newer, or no ledger's; `Damaged` if the file is.
        Away: the file cannot be read.
    """
    with answering(engine), engine.connect() as connection:
        try:
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        except OperationalError:
            found = None
    if found != REVISION:
        where = f"the ledger {engine.url.database} has tables of version {found or 'none'}, wanted {REVISION}"
        raise Misconfigured(f"{where}: run python -m services.ledger migrate")
