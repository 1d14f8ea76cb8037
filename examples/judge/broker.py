"""What the broker carried: releases and invitations as the ledger has them, updates byte for byte the same."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from .envelope import is_payload, is_sealed_by
from .evidence import Evidence
from .finding import Finding, release_named, update_named, window_named
from .ledger import Ledger
from .manifest import canonical, enveloped, is_released_by, parsed
from .plan import base_of, body_of, cohort_of
from .published import published
from .restored import loses_version, loses_window
from .trace import Downward, announced, downward, laters, pieces

_CHUNK: Final = 96 * 1024
"""How long a part's chunk is, the last one's aside (wire 4)."""


def judge(evidence: Evidence) -> Iterator[Finding]:
    """What is wrong with what was published."""
    yield from _releases(evidence)
    yield from _resends(evidence)
    yield from _parts(evidence)
    for said in downward(evidence.trace, "invitation"):
        yield from _invitation(evidence.ledger, said)
    yield from _blobs(evidence)


def _releases(evidence: Evidence) -> Iterator[Finding]:
    """A broker knows no fence: a gateway that was replaced may say what it had begun to say, and is put right."""
    newest: dict[str, int] = {}
    bytes_of: dict[tuple[str, int], set[bytes]] = defaultdict(set)
    last: dict[str, int] = {}
    for federation, event in announced(evidence.trace):
        version, envelope = _announced(event)
        yield from _release(evidence.ledger, federation, version, envelope)
        bytes_of[federation, version] |= {envelope} if _is_genuine(evidence.ledger, federation, envelope) else set()
        newest[federation] = max(version, newest.get(federation, 0))
        last[federation] = version
    for federation, version in last.items():
        if version < newest[federation]:
            said = f"It was announced after release {newest[federation]}, and nothing newer after it."
            yield Finding("trace-rollback", release_named(federation, version), said)
        yield from _newest(evidence.ledger, federation, version)
    for (federation, version), found in bytes_of.items():
        if len(found) > 1:
            said = f"{len(found)} different manifests of it were announced, all signed by the federation."
            yield Finding("version-reused", release_named(federation, version), said)


def _announced(event: bytes) -> tuple[int, bytes]:
    """The version that an event says, and its envelope as it is hashed; 0 and nothing where it is no release."""
    try:
        envelope = canonical(parsed(event).get("data"))
    except (ValueError, TypeError):
        return 0, b""
    one = enveloped(envelope)
    version = one.manifest.get("version") if one else 0
    return (version if isinstance(version, int) else 0), envelope


def _release(ledger: Ledger, federation: str, version: int, envelope: bytes) -> Iterator[Finding]:
    release = ledger.release_of.get((federation, version))
    if release is None and loses_version(ledger, federation, version) and _is_genuine(ledger, federation, envelope):
        return
    if release is None:
        yield Finding("trace-release-without-row", release_named(federation, version), "The ledger knows none such.")
    elif envelope != release.manifest:
        said = "What was announced is not the manifest in the ledger, byte for byte."
        yield Finding("trace-release-differs", release_named(federation, version), said)


def _is_genuine(ledger: Ledger, federation: str, envelope: bytes) -> bool:
    one = enveloped(envelope)
    return one is not None and is_released_by(one, ledger.server_key_of.get((federation, "release"), b""))


def _newest(ledger: Ledger, federation: str, version: int) -> Iterator[Finding]:
    newest = max((one.version for one in ledger.releases if one.federation == federation), default=0)
    if version < newest:
        said = f"It is the last one announced, and the ledger has release {newest}."
        yield Finding("retained-not-newest", release_named(federation, version), said)


def _resends(evidence: Evidence) -> Iterator[Finding]:
    """Whoever alters a signature and keeps it valid makes a second envelope of one id."""
    envelopes: dict[bytes, set[bytes]] = defaultdict(set)
    for said in published(evidence):
        envelopes[said.sealed.id].add(said.envelope)
    for update, found in envelopes.items():
        row = evidence.ledger.update_of.get(update)
        if len(found | ({row.sealed} if row else set())) > 1:
            said_of_it = "It was sent in different bytes, or others than the ledger's."
            yield Finding("resend-differs", update_named(update), said_of_it)


def _parts(evidence: Evidence) -> Iterator[Finding]:
    """Each part of an update carries the same bytes each time, and all parts of it are what was signed.

    Whoever can publish below a device's name can say later parts of any id, so these count only from its own device.
    """
    chunks: dict[bytes, dict[int, set[bytes]]] = defaultdict(lambda: defaultdict(set))
    headers = {}
    for said in published(evidence):
        headers[said.sealed.id] = said
        chunks[said.sealed.id][0].add(said.sealed.after)
    for later in laters(evidence.trace):
        header = headers.get(later.id)
        if header is not None and (header.federation, header.device) == (later.federation, later.device):
            chunks[later.id][later.index].add(later.chunk)
    for update, found in chunks.items():
        if any(len(bodies) > 1 for bodies in found.values()):
            yield Finding("resend-differs", update_named(update), "A part of it was sent in different bytes.")
        elif _is_whole(found) and not is_payload(headers[update].sealed, _payload(found)):
            yield Finding("resend-differs", update_named(update), "Its parts, joined, are not the payload it signed.")


def _is_whole(parts: Mapping[int, set[bytes]]) -> bool:
    """Whether every part up to the last one was seen; a part that is shorter than a chunk is the last one."""
    newest = max(parts)
    return sorted(parts) == list(range(newest + 1)) and all(len(body) < _CHUNK for body in parts[newest])


def _payload(parts: Mapping[int, set[bytes]]) -> bytes:
    return b"".join(next(iter(parts[index])) for index in sorted(parts))


def _invitation(ledger: Ledger, said: Downward) -> Iterator[Finding]:
    message = said.sealed.message if said.sealed else {}
    number = message.get("window")
    named = window_named(said.federation, number if isinstance(number, int) else 0)
    key = ledger.server_key_of.get((said.federation, "invitation"), b"")
    if said.sealed is None or said.sealed.purpose != "invitation" or not is_sealed_by(said.sealed, key):
        yield Finding("invitation-differs", named, f"{said.device} was sent an invitation that is not sealed.")
        return
    if isinstance(number, int) and loses_window(ledger, said.federation, number):
        return
    window = ledger.window_of.get((said.federation, number if isinstance(number, int) else None))
    body = body_of(window)
    wrong = [name for name in ("deadline", "seed", "bound") if message.get(name) != body.get(name)]
    wrong += ["base"] if base_of(message) != base_of(body) else []
    wrong += ["device"] if message.get("device") != said.device or said.device not in cohort_of(window) else []
    if wrong:
        what = " and ".join(wrong)
        yield Finding("invitation-differs", named, f"{said.device} was invited with another {what} than the ledger's.")


def _blobs(evidence: Evidence) -> Iterator[Finding]:
    """Blobs of which every piece was seen; each place keeps what it was told last."""
    parts: dict[str, dict[int, bytes]] = defaultdict(dict)
    for _, digest, index, body in pieces(evidence.trace):
        parts[digest][index] = body
    for digest, found in parts.items():
        whole = _joined(found)
        if whole is not None and hashlib.sha256(whole).hexdigest() != digest:
            yield Finding("trace-blob-forged", f"blob {digest}", "Its pieces, joined, do not hash to its name.")


def _joined(found: Mapping[int, bytes]) -> bytes | None:
    """The blob, if every piece is there."""
    sizes = {piece[2:6] for piece in found.values()}
    content = b"".join(found[index][6:] for index in sorted(found))
    whole = len(sizes) == 1 and len(content) >= int.from_bytes(next(iter(sizes)), "big")
    return content if whole and sorted(found) == list(range(len(found))) else None
