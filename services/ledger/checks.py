"""Whether a ledger agrees with itself: every claim of its tables, looked at in another way than it was written.

Each check is a function that gives what it looked at, in words, or raises `Wrong`. The first that is wrong in each
check is named; all checks are made, whatever the others say. They read one view of the ledger, row by row, so they may
be made beside running services.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select, text

from mizzle import manifest
from mizzle.codec import decode
from mizzle.envelope import Purpose, unseal
from mizzle.errors import MizzleError
from mizzle.messages import Abandoned, Counted, Receipt, Refused, Update
from services.ledger import audit, chronicle, conservation, dues, federations, past, restorations
from services.ledger.tables import (
    AUDIT,
    BLOBS,
    BUDGETS,
    CHARGES,
    DEVICES,
    FEDERATIONS,
    RELEASES,
    SURCHARGES,
    UPDATES,
    WINDOWS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Row
    from sqlalchemy.sql.elements import ColumnElement

    from mizzle.messages import Outcome


class Wrong(Exception):
    """The ledger does not agree with itself; the text says where."""


@dataclass(frozen=True)
class Found:
    """What one check came to."""

    check: str
    what: str
    is_well: bool

    def __str__(self) -> str:
        """One line for people."""
        return f"{'ok   ' if self.is_well else 'WRONG'} {self.check}: {self.what}"


def checked(tx: Connection, head: audit.Head | None = None) -> Iterator[Found]:
    """All checks, one after the other; the audit chain must run through `head`, an end of it that was noted earlier."""
    yield _found("file", _file, tx)
    yield _found("audit", lambda: _chain(tx, head))
    for name in sorted(federations.names(tx)):
        yield _found(f"{name} accounts", _accounts, tx, name)
        yield _found(f"{name} updates", _updates, tx, name)
        yield _found(f"{name} receipts", _receipts, tx, name)
        yield _found(f"{name} windows", _windows, tx, name)
        yield _found(f"{name} releases", _releases, tx, name)
        yield _found(f"{name} charges", _charges, tx, name)
        yield _found(f"{name} restorations", _restorations, tx, name)
    yield _found("budgets", _budgets, tx)
    yield _found("blobs", _blobs, tx)


def _found(check: str, look: Callable[..., str], *of: object) -> Found:
    try:
        return Found(check, look(*of), is_well=True)
    except (Wrong, MizzleError) as wrong:
        return Found(check, str(wrong), is_well=False)


def _file(tx: Connection) -> str:
    said = tx.execute(text("PRAGMA integrity_check(1)")).scalar()
    if said != "ok":
        raise Wrong(f"SQLite finds it damaged: {said}")
    if (dangling := tx.execute(text("PRAGMA foreign_key_check")).first()) is not None:
        raise Wrong(f"a row of {dangling[0]} refers to one of {dangling[2]} that is not there")
    return "every page and every index is whole"


def _chain(tx: Connection, head: audit.Head | None) -> str:
    end = audit.verify(tx, head)
    through = f", through {head.seq}:{head.hash.hex()}" if head else ""
    return f"{end.seq} rows, each bound to the one before it{through}"


def _accounts(tx: Connection, federation: str) -> str:
    found = conservation.accounts(tx, federation)
    if found.difference:
        raise Wrong(f"{found.difference} updates are not accounted for")
    outcomes = ", ".join(f"{found.outcomes.get(name, 0)} {name}" for name in conservation.OUTCOMES)
    return f"{sum(found.outcomes.values())} admitted = {outcomes}"


def _updates(tx: Connection, federation: str) -> str:
    """Each update's id is the hash of what its own device signed, which says whose it is and which window it names.

    Nobody else was charged for it.
    """
    belong = select(DEVICES.c.device, DEVICES.c.public_key).where(DEVICES.c.federation == federation)
    keys = {row.device: row.public_key for row in tx.execute(belong)}
    count = 0
    for row in _each(tx, UPDATES.c.federation == federation):
        envelope, who = unseal(row.sealed), f"update {row.id.hex()}"
        if row.device not in keys:
            raise Wrong(f"{who} is of {row.device}, which does not belong")
        if envelope.purpose is not Purpose.UPDATE or envelope.id != row.id:
            raise Wrong(f"{who} is not the hash of its signed header")
        envelope.verify(keys[row.device])
        said = decode(envelope.header, Update)
        if (said.federation, said.device, said.window) != (federation, row.device, row.named_window):
            raise Wrong(f"{who} stands for {row.device} in window {row.named_window}, its device signed otherwise")
        count += 1
    for fault in dues.misdirected(tx, federation):
        raise Wrong(fault)
    gone = sum(one.count for one in past.counts(tx, federation))
    return f"{count} are signed by their devices" + (f"; the rows of {gone} more were cleaned up" if gone else "")


def _receipts(tx: Connection, federation: str) -> str:
    """Each update that has ended has a receipt of our key that says so, and no other has one."""
    keys = [key.public_key for key in federations.server_keys(tx, federation) if key.role == "receipt"]
    count = 0
    for row in _each(tx, UPDATES.c.federation == federation):
        if row.outcome == "open":
            if (row.receipt, row.ended_at) != (None, None):
                raise Wrong(f"update {row.id.hex()} is open, and has a receipt or an end")
            continue
        if row.receipt is None or row.ended_at is None:
            raise Wrong(f"update {row.id.hex()} has ended without a receipt or an instant")
        _proven(row, federation, keys)
        count += 1
    return f"{count} are signed by the federation, and say what the ledger says"


def _proven(row: Row[tuple[object, ...]], federation: str, keys: list[bytes]) -> None:
    envelope = unseal(row.receipt)
    envelope.verify(keys[0])
    said = decode(envelope.header, Receipt)
    wanted = (federation, row.device, row.id, row.named_window)
    if envelope.purpose is not Purpose.RECEIPT or (said.federation, said.device, said.update, said.window) != wanted:
        raise Wrong(f"the receipt of update {row.id.hex()} is another one's")
    if (says := _ending(said.outcome)) != (stands := _stands(row)):
        raise Wrong(f"the receipt of update {row.id.hex()} says {says}, the ledger {stands}")


def _ending(outcome: Outcome) -> tuple[object, ...]:
    """How an update ended, by its receipt."""
    match outcome:
        case Counted(release=version, window=window, weight=weight):
            return "counted", version, window, weight
        case Refused(reason=reason):
            return "refused", reason
        case Abandoned(window=window):
            return "abandoned", window


def _stands(row: Row[tuple[object, ...]]) -> tuple[object, ...]:
    """How an update ended, by its row."""
    of = {"counted": (row.version, row.window, row.weight), "refused": (row.reason,), "abandoned": (row.window,)}
    return row.outcome, *of.get(row.outcome, ())


def _windows(tx: Connection, federation: str) -> str:
    """One is open at most, each that was released names its release, and each release its window.

    Where a restored ledger was resumed and no service has run since, windows were skipped after the open one.
    """
    rows = tx.execute(select(WINDOWS).where(WINDOWS.c.federation == federation).order_by(WINDOWS.c.number)).all()
    is_open = [row.number for row in rows if row.state == "open"]
    skipped = {one.window for one in restorations.every(tx, federation) if one.is_ahead}
    newest = max((row.number for row in rows if row.number not in skipped or row.state == "open"), default=0)
    if is_open not in ([], [newest]):
        raise Wrong(f"windows {is_open} are open, and the newest is {newest}")
    made = _pairs(tx, select(RELEASES.c.window, RELEASES.c.version).where(RELEASES.c.federation == federation))
    for row in rows:
        if row.version != made.get(row.number) or (row.version is None) == (row.state == "released"):
            raise Wrong(f"window {row.number} is {row.state} as {row.version}, its release is {made.get(row.number)}")
        if (row.ended_at is None) != (row.state == "open"):
            raise Wrong(f"window {row.number} is {row.state} and ended at {row.ended_at}")
    return f"{len(rows)}, of which {len(is_open)} open"


def _releases(tx: Connection, federation: str) -> str:
    """Each release is signed, follows the one before it, names a model that is here, and has as many members."""
    keys = [key.public_key for key in federations.server_keys(tx, federation) if key.role == "release"]
    plan, previous, count = federations.find(tx, federation).plan, None, 0
    digest_of_plan = hashlib.sha256(plan).hexdigest()
    for row in tx.execute(select(RELEASES).where(RELEASES.c.federation == federation).order_by(RELEASES.c.version)):
        said = manifest.authentic(row.manifest, keys, federation)
        says = (said.version, said.window, said.members, said.model.digest, said.previous, said.plan)
        if says != (row.version, row.window, row.members, row.model_digest.hex(), previous, digest_of_plan):
            raise Wrong(f"the manifest of release {row.version} says something else than the ledger")
        if hashlib.sha256(row.manifest).digest() != row.manifest_digest:
            raise Wrong(f"the manifest of release {row.version} has another digest")
        for digest in (row.model_digest, row.total_digest, row.optimizer_digest):
            if digest and tx.execute(select(BLOBS.c.digest).where(BLOBS.c.digest == digest)).scalar() is None:
                raise Wrong(f"release {row.version} lacks blob {digest.hex()}")
        _as_it_was_written(tx, row)
        previous, count = row.manifest_digest.hex(), count + 1
    return f"{count} are signed, each after the one before it"


def _as_it_was_written(tx: Connection, row: Row[tuple[object, ...]]) -> None:
    """Return if the audit chain has the release with this manifest, total and members; some of these may be gone."""
    this = (AUDIT.c.federation == row.federation, AUDIT.c.action == "window.released")
    body = tx.execute(select(AUDIT.c.body).where(*this, AUDIT.c.subject == str(row.window))).scalar()
    said = audit.said(body or "")
    if (said.get("version"), said.get("manifest")) != (row.version, row.manifest_digest.hex()):
        raise Wrong(f"the audit chain does not have release {row.version} of window {row.window} with this manifest")
    if said.get("total") != row.total_digest.hex() or len(said.get("members", ())) != row.members:
        raise Wrong(f"release {row.version} has another total or other members than the audit chain says")
    counted = select(UPDATES.c.id).where(UPDATES.c.federation == row.federation, UPDATES.c.window == row.window)
    ids = tx.execute(counted.where(UPDATES.c.version == row.version)).scalars()
    if stray := {one.hex() for one in ids} - set(said["members"]):
        raise Wrong(f"update {min(stray)} counts in release {row.version}, the audit chain does not have it there")


def _charges(tx: Connection, federation: str) -> str:
    """A reservation belongs to an open update and to no other; whoever is counted has settled, and nobody gets back."""
    wanted = select(CHARGES.c.update, CHARGES.c.state, CHARGES.c.loss, CHARGES.c.version, UPDATES.c.outcome)
    wanted = wanted.join(UPDATES, UPDATES.c.id == CHARGES.c.update, isouter=True)
    count = 0
    for row in tx.execute(wanted.where(CHARGES.c.federation == federation)):
        allowed = {"open": {"reserved"}, "counted": {"settled"}, "refused": {"settled"}}.get(
            row.outcome, {"settled", "void"}
        )
        if row.outcome is None or row.state not in allowed or row.loss < 0:
            raise Wrong(f"the charge of update {row.update.hex()} is {row.state}, and the update {row.outcome}")
        count += 1
    bare = (UPDATES.c.federation == federation, UPDATES.c.outcome == "counted", CHARGES.c.update.is_(None))
    lacking = select(UPDATES.c.id).join(CHARGES, CHARGES.c.update == UPDATES.c.id, isouter=True).where(*bare)
    if (found := tx.execute(lacking.limit(1)).scalar()) is not None:
        raise Wrong(f"update {found.hex()} is counted, and nothing was charged for it")
    for fault in dues.faults(tx, federation):
        raise Wrong(fault)
    return f"{count}, each as its update stands, and no less than it costs"


def _budgets(tx: Connection) -> str:
    """What every device has spent and reserved is the sum of its charges."""
    settled, reserved = past.settled(tx), Counter[str]()
    for device, state, loss in tx.execute(
        select(CHARGES.c.device, CHARGES.c.state, func.sum(CHARGES.c.loss)).group_by(CHARGES.c.device, CHARGES.c.state)
    ):
        (settled if state == "settled" else reserved)[device] += 0 if state == "void" else loss
    for device, loss in tx.execute(select(SURCHARGES.c.device, SURCHARGES.c.loss)):
        settled[device] += loss
    rows = tx.execute(select(BUDGETS)).all()
    for row in rows:
        if (row.settled, row.reserved) != (settled[row.device], reserved[row.device]):
            text = f"{row.device} has spent {row.settled} and reserved {row.reserved}"
            raise Wrong(f"{text}, its charges come to {settled[row.device]} and {reserved[row.device]}")
    if stray := (settled.keys() | reserved.keys()) - {row.device for row in rows}:
        raise Wrong(f"{min(stray)} was charged, and has no budget")
    return f"{len(rows)}, each the sum of its charges"


def _blobs(tx: Connection) -> str:
    count = 0
    for row in tx.execute(select(BLOBS).execution_options(yield_per=1)):
        if hashlib.sha256(row.body).digest() != row.digest:
            raise Wrong(f"blob {row.digest.hex()} holds other bytes")
        count += 1
    for row in tx.execute(select(FEDERATIONS)):
        if tx.execute(select(BLOBS.c.digest).where(BLOBS.c.digest == row.model_digest)).scalar() is None:
            raise Wrong(f"the first model of {row.federation} is lost")
    return f"{count}, each under its digest"


def _restorations(tx: Connection, federation: str) -> str:
    """Whether it was ever restored; each time is in the audit chain, with what was seen, and what everybody paid."""
    for fault in chronicle.faults(tx, federation):
        raise Wrong(fault)
    last = restorations.newest(tx, federation)
    if last is None:
        return "never restored"
    if last.holds:
        seen = f"--newest-release {last.version} --newest-window {last.window} or more"
        return f"{last.number}, and it waits for a person: services.ledger resume --because WHY {seen}"
    return f"{last.number}, and it went on as release {last.base_version} after window {last.window}"


def _each(tx: Connection, of: ColumnElement[bool]) -> Iterator[Row[tuple[object, ...]]]:
    return iter(tx.execute(select(UPDATES).where(of).execution_options(yield_per=500)))


def _pairs(tx: Connection, wanted: object) -> dict[int, int]:
    return {row[0]: row[1] for row in tx.execute(wanted)}  # type: ignore[call-overload]
