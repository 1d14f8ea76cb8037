"""What a subscriber to the broker saw, as JSON lines, sorted by what it is."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .envelope import Sealed, opened


@dataclass(frozen=True)
class Seen:
    """A message, as it passed."""

    at: int
    topic: str
    body: bytes
    retained: bool


@dataclass(frozen=True)
class Upward:
    """An envelope that a device published, below its own name."""

    federation: str
    device: str
    kind: str
    sealed: Sealed
    envelope: bytes


@dataclass(frozen=True)
class Downward:
    """What was said to one device; `sealed` is nothing where the body is no envelope."""

    federation: str
    device: str
    kind: str
    body: bytes
    sealed: Sealed | None


@dataclass(frozen=True)
class Later:
    """A part of an update after the first, published below a device's name."""

    federation: str
    device: str
    id: bytes
    index: int
    chunk: bytes


Trace = tuple[Seen, ...]


def read_trace(path: Path) -> Trace:
    """The trace in this file."""
    return tuple(_seen(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _seen(line: str) -> Seen:
    said = json.loads(line)
    return Seen(said["at"], said["topic"], base64.b64decode(said["body"]), said["retained"])


def upward(trace: Trace) -> Iterator[Upward]:
    """The envelopes from devices: later chunks and what is no envelope are passed over."""
    for seen in trace:
        match seen.topic.split("/"):
            case ["mz", "1", federation, "up", _, device, kind] if (sealed := opened(seen.body)) is not None:
                envelope = seen.body[: len(seen.body) - len(sealed.after)]
                yield Upward(federation, device, kind, sealed, envelope)


def laters(trace: Trace) -> Iterator[Later]:
    """The later parts of updates: "mc", the index in two bytes, the update's id in 32, then the chunk."""
    for seen in trace:
        match seen.topic.split("/"):
            case ["mz", "1", federation, "up", _, device, "update"] if seen.body[:2] == b"mc" and len(seen.body) >= 36:  # noqa: PLR2004
                index = int.from_bytes(seen.body[2:4], "big")
                yield Later(federation, device, seen.body[4:36], index, seen.body[36:])


def downward(trace: Trace, kind: str) -> Iterator[Downward]:
    """What was said to devices under this kind of topic."""
    for seen in trace:
        match seen.topic.split("/"):
            case ["mz", "1", federation, "to", device, named] if named == kind:
                yield Downward(federation, device, kind, seen.body, opened(seen.body))


def announced(trace: Trace) -> Iterator[tuple[str, bytes]]:
    """Federation and event of every release that was announced, in order."""
    for seen in trace:
        match seen.topic.split("/"):
            case ["mz", "1", federation, "pub", "release"] if seen.body:
                yield federation, seen.body


def pieces(trace: Trace) -> Iterator[tuple[str, str, int, bytes]]:
    """Federation, digest, index and body of every piece of a blob; an empty body takes one away, and is passed over."""
    for seen in trace:
        match seen.topic.split("/"):
            case ["mz", "1", federation, "pub", "blob", digest, index] if seen.body and index.isdecimal():
                yield federation, digest, int(index), seen.body
