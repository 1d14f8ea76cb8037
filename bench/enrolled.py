"""Devices that belong before the clock starts: what enrolling costs is not what is measured."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.load import key_of
from services.ledger import enrolments
from services.ledger.engine import writing
from services.ledger.enrolments import Device

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.ledger.founding import Founded


def enrol(founded: Founded, devices: Iterable[str]) -> None:
    """Let all of them belong, in one transaction; they never ask for their identity, so it is empty."""
    with writing(founded.engine) as tx:
        for device in devices:
            belongs = Device(key_of(device).public_key, identity=b"")
            enrolments.enrol(tx, founded.federation, device, belongs, round(time.time() * 1000))
