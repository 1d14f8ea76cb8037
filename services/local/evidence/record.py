"""What the demo came to, as one record: all but the accuracies and the clock is read from ledger and outboxes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from .books import Ledger, Outboxes, Update, read_ledger, read_outboxes
from .loss import epsilon
from .sealed import UPDATE, manifest, opened

_LAST: Final = 3
"""The accuracy is the mean over the last so many releases."""


@dataclass(frozen=True)
class Killed:
    """A service that was killed by `signal`, and the members that its open `window` had by then."""

    service: str
    pid: int
    signal: int
    window: int
    members: frozenset[bytes]


@dataclass(frozen=True)
class Rejoined:
    """A device whose updates came when at least one whole window had passed without it, and were answered."""

    device: str
    replayed: int
    windows_missed: int


@dataclass(frozen=True)
class Evidence:
    """The record; `received` counts distinct admitted updates, ε is that of the device that has spent most."""

    accuracy: float
    accuracy_alone: float
    windows: int
    received: int
    counted: int
    refused: int
    abandoned: int
    duplicate: int
    open: int
    conservation_difference: int
    killed: tuple[Killed, ...]
    rejoined: tuple[Rejoined, ...]
    version: int
    verified: bool
    epsilon: float
    delta: float
    bytes_up_per_update: float
    wall_s: float
    ledger: Ledger = field(repr=False)
    outboxes: Outboxes = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The record for a JSON file; members are told by their number."""
        return {
            "accuracy": self.accuracy,
            "accuracy_alone": self.accuracy_alone,
            "windows": self.windows,
            "received": self.received,
            "counted": self.counted,
            "refused": self.refused,
            "abandoned": self.abandoned,
            "duplicate": self.duplicate,
            "open": self.open,
            "conservation_difference": self.conservation_difference,
            "killed": [_kill_told(kill, self.ledger) for kill in self.killed],
            "rejoined": [vars(rejoined) for rejoined in self.rejoined],
            "release": {"version": self.version, "verified": self.verified},
            "epsilon": self.epsilon,
            "delta": self.delta,
            "bytes_up_per_update": self.bytes_up_per_update,
            "wall_s": self.wall_s,
        }


def read(  # noqa: PLR0913  # what was seen is told by name
    ledger_file: Path,
    homes: Path,
    *,
    killed: Iterable[Killed],
    accuracies: Sequence[float],
    accuracy_alone: float,
    wall_s: float,
) -> Evidence:
    """The record of the ledger `ledger_file` and the outboxes in the folders below `homes`.

    `accuracies` are the late subscriber's own, by version; without any the accuracy is 0.
    """
    ledger, outboxes = read_ledger(ledger_file), read_outboxes(homes)
    outcomes = Counter(row.outcome for row in ledger.updates.values())
    delta = float(json.loads(ledger.federation.plan)["privacy"]["delta"])
    newest = max(ledger.releases, default=0)
    return Evidence(
        accuracy=fmean(accuracies[-_LAST:]) if accuracies else 0.0,
        accuracy_alone=accuracy_alone,
        windows=len(ledger.windows),
        received=len(ledger.updates),
        counted=outcomes["counted"],
        refused=outcomes["refused"],
        abandoned=outcomes["abandoned"],
        duplicate=ledger.deliveries.get("duplicate", 0),
        open=outcomes["open"],
        conservation_difference=sum(map(abs, (*_window_gaps(ledger).values(), *_delivery_gaps(ledger)))),
        killed=tuple(killed),
        rejoined=_rejoined(ledger, outboxes),
        version=newest,
        verified=is_verified(ledger, newest),
        epsilon=epsilon(max((row.settled + row.reserved for row in ledger.budgets.values()), default=0), delta),
        delta=delta,
        bytes_up_per_update=_bytes_up(ledger),
        wall_s=wall_s,
        ledger=ledger,
        outboxes=outboxes,
    )


def survivors(kill: Killed, ledger: Ledger) -> frozenset[bytes]:
    """Those of the members before a kill that are counted in the release of that very window."""
    window = ledger.windows.get(kill.window)
    version = window.version if window else None
    counted = (row.id for row in ledger.updates.values() if row.outcome == "counted" and row.version == version)
    return kill.members.intersection(counted if version is not None else ())


def is_verified(ledger: Ledger, version: int) -> bool:
    """Whether a release's manifest bears the federation's signature and names the model that the ledger has."""
    row = ledger.releases.get(version)
    said = row and manifest(row.manifest, ledger.server_keys.get("release", b""))
    if not row or not said:
        return False
    named = (said.get("federation"), said.get("version"), said.get("window"), said.get("model", {}).get("digest"))
    wanted = (ledger.federation.federation, version, row.window, row.model_digest.hex())
    return named == wanted and row.model_digest in ledger.blobs


def _kill_told(kill: Killed, ledger: Ledger) -> dict[str, Any]:
    before, after = len(kill.members), len(survivors(kill, ledger))
    return {
        "service": kill.service,
        "pid": kill.pid,
        "signal": kill.signal,
        "members_before": before,
        "members_after": after,
    }


def _window_gaps(ledger: Ledger) -> dict[int, int]:
    """Admitted − counted − refused − abandoned − open of each window, by the window in the signed header.

    An update that has ended without a receipt has not ended: its row only says so.
    """
    gaps: Counter[int] = Counter()
    for row in ledger.updates.values():
        sealed = opened(row.sealed, UPDATE)
        gaps[sealed.message.get("window", 0) if sealed else 0] += 1
        gaps[row.named_window] -= row.outcome == "open" or (row.outcome in _ENDINGS and row.receipt is not None)
    return dict(gaps)


_ENDINGS: Final = ("counted", "refused", "abandoned")


def _delivery_gaps(ledger: Ledger) -> tuple[int, int]:
    """Deliveries − first − duplicate − unauthenticated, and first − admitted."""
    kinds = ledger.deliveries
    parts = sum(kinds.get(kind, 0) for kind in ("first", "duplicate", "unauthenticated"))
    return kinds.get("deliveries", parts) - parts, kinds.get("first", 0) - len(ledger.updates)


def _rejoined(ledger: Ledger, outboxes: Outboxes) -> tuple[Rejoined, ...]:
    held = {kept.id for kept in outboxes.receipts}
    missed: dict[str, list[int]] = {}
    for row in ledger.updates.values():
        windows = _missed(row, ledger)
        if windows and row.id in held:
            missed.setdefault(row.device, []).append(windows)
    return tuple(Rejoined(device, len(found), max(found)) for device, found in sorted(missed.items()))


def _missed(row: Update, ledger: Ledger) -> int:
    """How many windows opened and ended between the one that an update names and its arrival."""
    later = (window for number, window in ledger.windows.items() if number > row.named_window)
    return sum(1 for window in later if window.ended_at is not None and window.ended_at <= row.admitted_at)


def _bytes_up(ledger: Ledger) -> float:
    """The mean size of a counted update: its sealed header, and the payload that the header names."""
    sizes = []
    for row in ledger.updates.values():
        sealed = opened(row.sealed, UPDATE)
        if row.outcome == "counted" and sealed:
            sizes.append(len(row.sealed) + int(sealed.message["payload"]["size"]))
    return fmean(sizes) if sizes else 0.0
