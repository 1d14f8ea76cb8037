"""Updates that vanished: an outbox or the broker knew them, and now neither the outbox nor the ledger can say how."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from .evidence import Evidence
from .excused import excused
from .finding import Finding, update_named
from .genuine import told
from .outbox import Outbox
from .past import has_ended, memories
from .published import published

_RECEIPTS_KEPT: Final = 10_000


def judge(evidence: Evidence) -> Iterator[Finding]:
    """Updates that are lost, and those that a device forgot before it had their receipt."""
    gone = dict(_gone(evidence))
    missing = lost(evidence)
    for update in missing:
        said = f"{gone[update]} has it no more, and the ledger has no receipt for it."
        yield Finding("lost", update_named(update), said)
    for log in evidence.outboxes:
        for update in _forgotten(log) - missing:
            said = f"{log.device} has let it go without its receipt; the ledger says how it ended."
            yield Finding("forgotten", update_named(update), said)


def lost(evidence: Evidence) -> set[bytes]:
    """Updates that no outbox keeps any more and that have not ended, with a receipt, in the ledger."""
    return {update for update, _ in _gone(evidence) if not _has_ended(evidence, update)}


def _has_ended(evidence: Evidence, update: bytes) -> bool:
    """By its row; or, where that was cleaned up or lost, by a receipt that is excused or by what is remembered."""
    row = evidence.ledger.update_of.get(update)
    if row is not None:
        return row.outcome != "open" and row.receipt is not None
    return update in _answered(evidence) or update in _remembered(evidence)


@lru_cache(maxsize=8)
def _answered(evidence: Evidence) -> frozenset[bytes]:
    """The updates of receipts that the ledger need not have."""
    ends = (told(evidence.ledger, body) for body in excused(evidence))
    return frozenset(one.update for one in ends if one is not None)


@lru_cache(maxsize=8)
def _remembered(evidence: Evidence) -> frozenset[bytes]:
    """Those that the broker carried and whose counter is marked as one that has ended."""
    found = set()
    for one in published(evidence):
        window = one.sealed.message.get("window")
        memory = memories(evidence.ledger).get((one.federation, one.device))
        if isinstance(window, int) and has_ended(memory, one.sealed.counter, window):
            found.add(one.sealed.id)
    return frozenset(found)


def _gone(evidence: Evidence) -> Iterator[tuple[bytes, str]]:
    """Updates that a device is known to have had and has not waiting; a device without a log is not asked."""
    logs = {log.device: log for log in evidence.outboxes}
    for log in evidence.outboxes:
        for update in (log.sent_ids | log.receipt_ids) - log.waiting_ids:
            yield update, log.device
    for said in published(evidence):
        log_of = logs.get(said.device)
        if log_of is not None and said.sealed.id not in log_of.waiting_ids:
            yield said.sealed.id, said.device


def _forgotten(log: Outbox) -> frozenset[bytes]:
    """What was sent, waits no more and has no receipt; beyond the newest 10,000 receipts nothing can be said."""
    if len(log.receipts) >= _RECEIPTS_KEPT:
        return frozenset()
    return log.sent_ids - log.waiting_ids - log.receipt_ids
