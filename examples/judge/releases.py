"""Releases: versions without a gap, each made of one window, by the members and from the model that it says."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

from .evidence import Evidence
from .finding import Finding, release_named
from .ledger import Ledger, Release
from .members import listed
from .plan import body_of, rules_of
from .windows import model_of

_ROOM: Final = 1 << 62


def judge(evidence: Evidence) -> Iterator[Finding]:
    """What is wrong with releases, their manifests and blobs aside."""
    ledger = evidence.ledger
    for one in ledger.federations:
        yield from _versions(ledger, one.federation)
    yield from _members(ledger)
    for release in ledger.releases:
        yield from _window(ledger, release)
        yield from _base(ledger, release)
        yield from _crowd(ledger, release)
        yield from _room(ledger, release)


def _versions(ledger: Ledger, federation: str) -> Iterator[Finding]:
    rows = Counter(one.version for one in ledger.releases if one.federation == federation)
    windows = Counter(one.version for one in ledger.windows if one.federation == federation and one.version is not None)
    for version in sorted((rows | windows).keys()):
        times = max(rows[version], windows[version])
        if times > 1:
            said = f"{times} releases or windows have this version."
            yield Finding("version-twice", release_named(federation, version), said)
    for version in sorted(set(range(1, max(rows, default=0))) - rows.keys()):
        said = f"It is not there, and release {max(rows)} is."
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
    """What a release says, the rows that are counted in it, and its list in the log."""
    rows = _rows(ledger)
    for one in ledger.releases:
        counted = len(rows[one.federation, one.version])
        if counted != one.members:
            said = f"It says {one.members} members, and {counted} rows are counted in it."
            yield Finding("members-differ", release_named(one.federation, one.version), said)
    for federation, version, members in listed(ledger):
        apart = len(rows[federation, version] ^ set(members))
        if apart:
            said = f"{apart} updates are in its list in the log or among the rows, and not in both."
            yield Finding("members-differ", release_named(federation, version), said)


def _rows(ledger: Ledger) -> defaultdict[tuple[str, int | None], set[bytes]]:
    """The updates that are counted in each release, by their rows."""
    found: defaultdict[tuple[str, int | None], set[bytes]] = defaultdict(set)
    for row in ledger.updates:
        if row.outcome == "counted":
            found[row.federation, row.version].add(row.id)
    return found


def _crowd(ledger: Ledger, release: Release) -> Iterator[Finding]:
    """Decided on envelopes: whose content is refused has arrived all the same; who rides along has not."""
    quorum = body_of(ledger.window_of.get((release.federation, release.window))).get("quorum")
    least = max(rules_of(ledger, release.federation).minimum_crowd, quorum if isinstance(quorum, int) else 0)
    if not max(least, release.members - _riding(ledger, release)) <= release.arrived:
        said = f"{release.arrived} arrived, {release.members} are members, {least} are needed."
        yield Finding("crowd-too-small", release_named(release.federation, release.version), said)


def _riding(ledger: Ledger, release: Release) -> int:
    """How many members only ride along: in rounds, those of earlier windows count towards no goal and no quorum."""
    if rules_of(ledger, release.federation).mode != "rounds":
        return 0
    counted = (row for row in ledger.updates if (row.federation, row.version) == (release.federation, release.version))
    return sum(row.outcome == "counted" and row.named_window != row.window for row in counted)


def _room(ledger: Ledger, release: Release) -> Iterator[Finding]:
    """64·(n·W·S + 12σ) < 2^62, with those that arrived for n: a window's own n is larger yet."""
    body = body_of(ledger.window_of.get((release.federation, release.window)))
    cap, bound = body.get("weight_cap"), body.get("bound")
    if not isinstance(cap, int) or not isinstance(bound, int):
        return
    if 64 * (release.arrived * cap * bound + 12 * release.sigma) >= _ROOM:
        said = f"{release.arrived} updates up to {cap}·{bound} with σ = {release.sigma} have no room in 62 bits."
        yield Finding("could-wrap", release_named(release.federation, release.version), said)
