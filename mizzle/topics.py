"""Topics of the broker and names in Redis: built here, parsed here, nowhere else.

    mz/1/{federation}/up/{shard}/{device}/{kind}    device → gateway
    mz/1/{federation}/to/{device}/{kind}            gateway → device
    mz/1/{federation}/pub/release                   everyone: the newest release, a retained CloudEvent
    mz/1/{federation}/pub/blob/{digest}/{index}     everyone: models, manifests and plans in retained pieces
    mz/1/{federation}/pub/state                     everyone: is the gateway there?

Every topic has at most 6 slashes (AWS IoT Core allows 7) and levels of `[A-Za-z0-9_-]` alone.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mizzle.errors import Unreadable
from mizzle.vocabulary import SHARDS

_UP: Final = re.compile(r"mz/1/([A-Za-z0-9_-]{1,64})/up/(0|[1-9][0-9]?)/([A-Za-z0-9_-]{1,64})/([a-z]{1,16})")
_TO: Final = re.compile(r"mz/1/([A-Za-z0-9_-]{1,64})/to/([A-Za-z0-9_-]{1,64})/(identity|invitation|receipt|want)")
_BLOB: Final = re.compile(r"mz/1/([A-Za-z0-9_-]{1,64})/pub/blob/([0-9a-f]{64})/(0|[1-9][0-9]{0,6})")


class Up(StrEnum):
    """What a device may publish under its own name."""

    ENROL = "enrol"
    PRESENCE = "presence"
    UPDATE = "update"
    PROBE = "probe"
    DECLINE = "decline"


_KINDS: Final = frozenset(Up)


@dataclass(frozen=True)
class UpTopic:
    """Where something came from: the broker lets only this device publish there."""

    federation: str
    device: str
    kind: Up


@dataclass(frozen=True)
class ToTopic:
    """Whom something is said to: the broker lets only the gateway publish there, and only this device hear it."""

    federation: str
    device: str
    kind: str


def shard(device: str) -> int:
    """The shard a device belongs to, for ever."""
    return hashlib.sha256(device.encode()).digest()[0] % SHARDS


def up(federation: str, device: str, kind: Up) -> str:
    """Where `device` publishes its messages of this kind."""
    return f"mz/1/{federation}/up/{shard(device)}/{device}/{kind}"


def every_up(federation: str) -> str:
    """The filter of everything that devices publish."""
    return f"mz/1/{federation}/up/+/+/+"


def to(federation: str, device: str, kind: str) -> str:
    """Where `device` is told something of this kind."""
    return f"mz/1/{federation}/to/{device}/{kind}"


def every_to(federation: str, device: str) -> str:
    """The filter of everything that `device` is told."""
    return f"mz/1/{federation}/to/{device}/+"


def release(federation: str) -> str:
    """Where the newest release stands, retained."""
    return f"mz/1/{federation}/pub/release"


def blob(federation: str, digest: bytes, index: int) -> str:
    """Where one piece of a blob stands, retained."""
    return f"mz/1/{federation}/pub/blob/{digest.hex()}/{index}"


def every_piece(federation: str, digest: bytes) -> str:
    """The filter of all pieces of one blob."""
    return f"mz/1/{federation}/pub/blob/{digest.hex()}/+"


def state(federation: str) -> str:
    """Where the gateway says that it is there, retained, with its last will."""
    return f"mz/1/{federation}/pub/state"


def parse_up(topic: str) -> UpTopic:
    """Who published on `topic`, and what kind.

    Raises:
        Unreadable: the topic is none that a device publishes on, or names a shard that is not the device's.
    """
    found = _UP.fullmatch(topic)
    if found is None or found[4] not in _KINDS or int(found[2]) != shard(found[3]):
        text = f"no device publishes on {topic!r}: wanted mz/1/FEDERATION/up/SHARD/DEVICE/KIND, SHARD the device's own"
        raise Unreadable(text)
    return UpTopic(federation=found[1], device=found[3], kind=Up(found[4]))


def everything(federation: str) -> str:
    """The filter of all that is said in a federation; the broker leaves out what the listener may not hear."""
    return f"mz/1/{federation}/#"


def parse_to(topic: str) -> ToTopic | None:
    """Whom the gateway speaks to on `topic`; None for any other topic."""
    found = _TO.fullmatch(topic)
    return ToTopic(federation=found[1], device=found[2], kind=found[3]) if found else None


def parse_blob(topic: str) -> tuple[bytes, int] | None:
    """The digest and index of a blob's piece; None for any other topic."""
    found = _BLOB.fullmatch(topic)
    return (bytes.fromhex(found[2]), int(found[3])) if found else None


# Names in Redis. The braces are a hash tag: all keys of one partition live on one node, for one script to write.


@dataclass(frozen=True)
class Keyspace:
    """The Redis keys of one partition of one ledger's federation; another ledger's keys never meet them."""

    ledger: str
    federation: str
    partition: int = 0

    @property
    def prefix(self) -> str:
        """What all its keys begin with."""
        return f"mz:{{{self.ledger}/{self.federation}/{self.partition}}}"

    def stream(self, name: str) -> str:
        """The stream of this name."""
        return f"{self.prefix}:stream:{name}"

    def place(self, service: str) -> str:
        """Where a service keeps its state, its cursors and its fence."""
        return f"{self.prefix}:state:{service}"

    def pulse(self, service: str) -> str:
        """Where a service says that its loop turns."""
        return f"{self.prefix}:pulse:{service}"
