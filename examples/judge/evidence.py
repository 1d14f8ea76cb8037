"""All that is judged, together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .ledger import Ledger, read_ledger
from .outbox import Outbox, read_outbox
from .trace import Trace, read_trace


@dataclass(frozen=True, eq=False)
class Evidence:
    """The ledger, the devices' logs, what the broker carried, and the ledger as it was before."""

    ledger: Ledger
    outboxes: tuple[Outbox, ...] = ()
    trace: Trace = ()
    earlier: Ledger | None = None


def gathered(ledger: Path, homes: Path | None, trace: Path | None, earlier: Path | None) -> Evidence:
    """The evidence in these files. The ledger is read last: whatever the others know of, it must know already."""
    before = read_ledger(earlier) if earlier else None
    seen = read_trace(trace) if trace else ()
    logs = tuple(read_outbox(path) for path in sorted(homes.glob("**/outbox.db"))) if homes else ()
    return Evidence(read_ledger(ledger), logs, seen, before)
