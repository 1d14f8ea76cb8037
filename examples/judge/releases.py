"""Releases: versions without a gap, each made of one window, by the members and from the model that it says."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

from .evidence import Evidence
from .finding import Finding, release_named
from .holes import holes
from .ledger import Ledger
from .members import listed
from .past import endings, members
from .plan import body_of, rules_of
from .restored import aliases, lost_versions
from .rows import Release
from .windows import model_of

_ROOM: Final = 1 << 62


def judge(evidence: Evidence) -> Iterator[Finding]:
    """What is wrong with releases, their manifests and blobs aside."""
    ledger = evidence.ledger
    for one in ledger.federations:
        yield from _versions(ledger, one.federation)
    yield from _members(ledger)
    folded, devices, past = _folded(ledger), _devices(ledger), members(ledger)
    for release in ledger.releases:
        named = (release.federation, release.version)
        yield from _window(ledger, release)
        yield from _base(ledger, release)
        yield from _crowd(ledger, release, release.members - folded[named], len(devices[named]) + past.get(named, 0))
        yield from _room(ledger, release)
        yield from _most(ledger, release)


def _versions(ledger: Ledger, federation: str) -> Iterator[Finding]:
    rows = Counter(one.version for one in ledger.releases if one.federation == federation)
    windows = Counter(one.version for one in ledger.windows if one.federation == federation and one.version is not None)
    for version in sorted((rows | windows).keys()):
        times = max(rows[version], windows[version])
        if times > 1:
            said = f"{times} releases or windows have this version."
            yield Finding("version-twice", release_named(federation, version), said)
    there = [*rows, *aliases(ledger, federation)]
    for version, after in holes(there, lost_versions(ledger, federation)):
        said = f"It is not there, and release {after} is."
        yield Finding("version-hole", release_named(federation, version), said)


def _window(ledger: Ledger, release: Release) -> Iterator[Finding]:
    window = ledger.window_of.get((release.federation, release.window))
    if window is None or (window.state, window.version) != ("released", release.version):
        state = f"{window.state}, with release {window.version}" if window else "not in the ledger"
        said = f"It is made of window {release.window}, which is {state}."
        yield Finding("release-without-window", release_named(release.federation, release.version), said)


def _base(ledger: Ledger, release: Release) -> Iterator[Finding]:
    window = ledger.window_of.get((release.federation, release.window))
    if window and release.base_digest != model_of(ledger, release.federation, window.base_version):
        said = f"It was not made from the model of version {window.base_version}, its window's base."
        yield Finding("base-differs", release_named(release.federation, release.version), said)


def _members(ledger: Ledger) -> Iterator[Finding]:
    """What a release says, the rows that are counted in it or were cleaned up, and its list in the log."""
    rows, past = _rows(ledger), members(ledger)
    for one in ledger.releases:
        counted, gone = len(rows[one.federation, one.version]), past.get((one.federation, one.version), 0)
        if counted + gone != one.members:
            said = f"It says {one.members} members, and {counted} rows are counted in it and {gone} were cleaned up."
            yield Finding("members-differ", release_named(one.federation, one.version), said)
    for federation, version, named in listed(ledger):
        own, gone = rows[federation, version], past.get((federation, version), 0)
        apart = len(own - set(named)) + abs(len(set(named) - own) - gone)
        if apart:
            said = f"{apart} updates are in its list in the log or among those that are counted, and not in both."
            yield Finding("members-differ", release_named(federation, version), said)


def _rows(ledger: Ledger) -> defaultdict[tuple[str, int | None], set[bytes]]:
    """The updates that are counted in each release, by their rows."""
    found: defaultdict[tuple[str, int | None], set[bytes]] = defaultdict(set)
    for row in ledger.updates:
        if row.outcome == "counted":
            found[row.federation, row.version].add(row.id)
    return found


def _folded(ledger: Ledger) -> Counter[tuple[str, int | None]]:
    """How many of those counted in each release were made for another window: in rounds they only ride along."""
    windows = {(one.federation, one.version): one.window for one in ledger.releases}
    counted = Counter(
        (row.federation, row.named_window, row.version or 0) for row in ledger.updates if row.outcome == "counted"
    )
    for (federation, window, outcome, _, version), count in endings(ledger).items():
        counted[federation, window, version] += count if outcome == "counted" else 0
    found: Counter[tuple[str, int | None]] = Counter()
    for (federation, window, version), count in counted.items():
        found[federation, version] += count if windows.get((federation, version)) != window else 0
    return found


def _devices(ledger: Ledger) -> defaultdict[tuple[str, int | None], set[str]]:
    """Whose updates are counted in each release."""
    found: defaultdict[tuple[str, int | None], set[str]] = defaultdict(set)
    for row in ledger.updates:
        if row.outcome == "counted":
            found[row.federation, row.version].add(row.device)
    return found


def _crowd(ledger: Ledger, release: Release, own: int, devices: int) -> Iterator[Finding]:
    """A quorum of envelopes of the window's own, whose content may be refused; and a crowd of devices in the sum.

    A member that was cleaned up is taken for a device of its own.
    """
    quorum = body_of(ledger.window_of.get((release.federation, release.window))).get("quorum")
    quorum, crowd = quorum if isinstance(quorum, int) else 0, rules_of(ledger, release.federation).minimum_crowd
    if release.arrived < max(quorum, own) or devices < crowd:
        said = f"{release.arrived} arrived where {quorum} are needed and {own} of them are members;"
        said = f"{said} its members are of {devices} devices where {crowd} are needed."
        yield Finding("crowd-too-small", release_named(release.federation, release.version), said)


def _most(ledger: Ledger, release: Release) -> Iterator[Finding]:
    """No more arrived than a window of rounds holds; buffered windows are judged by themselves."""
    if rules_of(ledger, release.federation).mode == "buffered":
        return
    most = body_of(ledger.window_of.get((release.federation, release.window))).get("most")
    if isinstance(most, int) and release.members <= most < release.arrived:
        said = f"{release.arrived} arrived in window {release.window}, which holds {most}."
        yield Finding("window-overfull", release_named(release.federation, release.version), said)


def _room(ledger: Ledger, release: Release) -> Iterator[Finding]:
    """64·(n·W·S + 12σ) < 2^62, with those that arrived for n: a window's own n is larger yet."""
    body = body_of(ledger.window_of.get((release.federation, release.window)))
    cap, bound = body.get("weight_cap"), body.get("bound")
    if not isinstance(cap, int) or not isinstance(bound, int):
        return
    if 64 * (release.arrived * cap * bound + 12 * release.sigma) >= _ROOM:
        said = f"{release.arrived} updates up to {cap}·{bound} with σ = {release.sigma} have no room in 62 bits."
        yield Finding("could-wrap", release_named(release.federation, release.version), said)
