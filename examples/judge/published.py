"""Updates that the broker carried and that are genuine: sealed by the device below whose name they were said."""

from __future__ import annotations

from collections.abc import Iterator

from .envelope import is_sealed_by
from .evidence import Evidence
from .trace import Upward, upward


def published(evidence: Evidence) -> Iterator[Upward]:
    """The first part of every genuine update in the trace."""
    return (said for said in signed(evidence) if said.kind == "update" and said.sealed.purpose == "update")


def signed(evidence: Evidence) -> Iterator[Upward]:
    """Every envelope in the trace that the enrolled key of its topic's device has sealed."""
    for said in upward(evidence.trace):
        device = evidence.ledger.device_of.get((said.federation, said.device))
        if device is not None and is_sealed_by(said.sealed, device.public_key):
            yield said
