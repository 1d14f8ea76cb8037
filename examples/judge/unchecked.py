"""What the evidence cannot tell any more: said, and not held against anybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .branch import parted
from .evidence import Evidence
from .excused import excused
from .ledger import Ledger
from .past import endings, members
from .restored import gaps


def unchecked(evidence: Evidence) -> tuple[str, ...]:
    """Each thing that can no longer be checked, as it ends the sentence `Cannot be checked any more: …`."""
    ledger, old = evidence.ledger, evidence.earlier
    found = [sentence for one in ledger.federations for sentence in _of(ledger, one.federation)]
    kinds = Counter(excused(evidence).values())
    if kinds["cleaned"]:
        found.append(f"whether {kinds['cleaned']} receipts that are held were those that were cleaned up; as many were")
    if kinds["lost"]:
        found.append(f"whether a ledger that was lost had {kinds['lost']} receipts that are held")
    if kinds["again"]:
        found.append(f"how {kinds['again']} updates ended that were told only that it is long ago")
    if old is not None and parted(old, ledger) is not None:
        found.append(f"what the earlier copy, which was lost, had done from row {parted(old, ledger)} of its log on")
    return tuple(found)


def _of(ledger: Ledger, federation: str) -> Iterator[str]:
    gone = sum(count for (named, *_), count in endings(ledger).items() if named == federation)
    if gone:
        releases = sum(named == federation for (named, _), count in members(ledger).items() if count)
        yield f"the headers, receipts, weights and charges of {gone} updates of {federation} that were cleaned up"
        yield f"how many devices were in {releases} releases of {federation} whose members were cleaned up"
    for gap in gaps(ledger, federation):
        after = f"what {federation} did after release {gap.known_version} and window {gap.known_window}"
        if gap.row.resumed_at is None:
            yield f"{after}, until a person says how far it had come when it was lost"
        elif gap.lost_releases or gap.row.window > gap.known_window:
            yield f"{after}, up to release {gap.row.version} and window {gap.row.window}, which were lost"
