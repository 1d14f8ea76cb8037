"""What an operator sees of a federation that suffers: what the doctor says, who is unwell, and lines of logs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from services.doctor.examine import examine
from services.doctor.sight import Sight
from services.local.federation import SERVICES
from services.pipeline import hop
from services.runtime.settings import Places
from services.runtime.shell import health

if TYPE_CHECKING:
    from services.local.ordeal import Ordeal

in_the_matrix = pytest.mark.skipif(os.environ.get("MIZZLE_MATRIX") != "1", reason="it takes long: make matrix")
"""A test that is run by `make matrix` alone; what is like it, and quicker, is always run."""

SEEN_S: Final = 30.0
"""What an operator is to see is there within so many seconds, while other tests run beside this one."""


def wrong(there: Ordeal) -> dict[str, str]:
    """What `python -m services.doctor` finds wrong, by subject, as a person reads it."""
    federation = there.federation
    sight = Sight(
        federation=federation.plan.federation,
        ledger=f"sqlite:///{federation.ledger_file}",
        redis_url=federation.redis_url,
        redis_password_file=None,
        broker=federation.broker_url,
        broker_password_file=None,
        keys=federation.folder / "keys",
        payloads=federation.payloads,
        payload_bytes=2**20,
        run_by="hand",
    )
    return {finding.subject: finding.text for finding in examine(sight) if finding.next}


def unwell(there: Ordeal) -> set[str]:
    """The services that `python -m services.NAME health` calls unwell: those that `compose ps` shows as unhealthy."""
    federation = there.federation
    places = Places(
        federation=federation.plan.federation,
        ledger=f"sqlite:///{federation.ledger_file}",
        redis_url=federation.redis_url,
        redis_password_file=None,
    )
    return {name for name in SERVICES if not health(hop(name), places)["healthy"]}


def log(there: Ordeal, name: str) -> str:
    """All that a process has logged, in every life."""
    return (there.federation.folder / "log" / f"{name}.log").read_text(errors="replace")


def logs(there: Ordeal, name: str, text: str) -> None:
    """Return once the process has logged `text`."""
    there.wait_until(lambda: text in log(there, name), SEEN_S, f"{text!r} in the log of {name}")
