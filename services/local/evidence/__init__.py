"""Whether the demo's story is true: read from its ledger, its devices' outboxes and the kills, by eyes of its own.

Nothing of `services/` or `mizzle` is imported here, so that no mistake of theirs can hide itself: envelopes, losses and
the audit chain are read and reckoned again from what `tables.py`, `envelope.py` and `outbox.py` promise.
"""

from .claims import complaints, contradictions
from .record import Evidence, Killed, Rejoined, read

__all__ = ["Evidence", "Killed", "Rejoined", "complaints", "contradictions", "read"]
