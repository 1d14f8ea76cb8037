"""The independent checker of `examples/judge`, over the files that a simulated federation leaves behind."""

from collections.abc import Sequence
from pathlib import Path

from examples.judge.evidence import gathered
from examples.judge.verdict import as_text, verdict
from tests.simulation.devices import Device
from tests.simulation.oracle import Violation


def judged(folder: Path, devices: Sequence[Device]) -> None:
    """Raise `Violation` with the judge's words unless it finds nothing wrong."""
    homes = folder / "homes"
    for device in devices:
        device.outbox.copy_to(homes / device.name / "outbox.db")
    found = verdict(gathered(folder / "ledger.db", homes, None, None))
    if not found.is_clean:
        raise Violation(f"the judge: {as_text(found)}")
