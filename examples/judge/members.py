"""Who is a member of which release: by the rows, by the receipts, and by the lists in the log. A double count shows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from .evidence import Evidence
from .finding import Finding, update_named
from .genuine import told
from .held import copies
from .ledger import Ledger
from .plan import said_at, written


def judge(evidence: Evidence) -> Iterator[Finding]:
    """Updates that are counted more than once."""
    for update in twice_listed(evidence.ledger):
        yield Finding("member-twice", update_named(update), "One release's list of members has it more than once.")
    for update, versions in claims(evidence).items():
        if len(versions) > 1:
            said = ", ".join(str(version) for version in sorted(versions))
            yield Finding("member-of-two", update_named(update), f"It is said to be counted in releases {said}.")
    for update in seconds(evidence.ledger):
        said = "Another update of its device for the same window is counted too."
        yield Finding("second-counted", update_named(update), said)


def doubled(evidence: Evidence) -> int:
    """How many updates are counted more than once, or beside another of their device for the window."""
    several = {update for update, versions in claims(evidence).items() if len(versions) > 1}
    return len(several.union(twice_listed(evidence.ledger), seconds(evidence.ledger)))


def listed(ledger: Ledger) -> Iterator[tuple[str, int, list[bytes]]]:
    """Federation, version and members of every release, as the log lists them."""
    for act in ledger.audit:
        version, members = said_at(written(act), "version"), said_at(written(act), "members")
        if act.action == "window.released" and isinstance(version, int) and isinstance(members, list):
            yield act.federation, version, [_id(one) for one in members]


def _id(one: object) -> bytes:
    """An update's id from its 64 digits; what is none is an update that nobody knows."""
    try:
        return bytes.fromhex(str(one))
    except ValueError:
        return str(one).encode(errors="replace")


def twice_listed(ledger: Ledger) -> set[bytes]:
    """Updates that one list of members names more than once."""
    return {one for _, _, members in listed(ledger) for one, times in Counter(members).items() if times > 1}


def claims(evidence: Evidence) -> Mapping[bytes, set[int]]:
    """By update, the releases that the rows, the log or a genuine receipt count it in."""
    found: dict[bytes, set[int]] = defaultdict(set)
    for row in evidence.ledger.updates:
        if row.outcome == "counted" and row.version is not None:
            found[row.id].add(row.version)
    for _, version, members in listed(evidence.ledger):
        for update in members:
            found[update].add(version)
    for update, version in _by_receipts(evidence):
        found[update].add(version)
    return found


def _by_receipts(evidence: Evidence) -> Iterator[tuple[bytes, int]]:
    for found in copies(evidence).values():
        for body in found:
            one = told(evidence.ledger, body)
            if one is not None and one.outcome == "counted":
                yield one.update, one.release


def seconds(ledger: Ledger) -> set[bytes]:
    """Counted updates beside an earlier counted one of their device for the same named window."""
    first: set[tuple[str, str, int]] = set()
    found = set()
    for row in ledger.updates:
        place = (row.federation, row.device, row.named_window)
        if row.outcome == "counted" and place in first:
            found.add(row.id)
        if row.outcome == "counted":
            first.add(place)
    return found
