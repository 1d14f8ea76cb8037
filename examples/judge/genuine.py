"""Which receipts are genuine: sealed by a federation's receipt key, with nothing behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .envelope import Sealed, is_sealed_by, opened
from .ledger import Ledger


def genuine(ledger: Ledger, federation: str, body: bytes) -> Sealed | None:
    """The receipt in these bytes, if this federation's receipt key sealed it and nothing follows."""
    sealed = opened(body)
    key = ledger.server_key_of.get((federation, "receipt"), b"")
    if sealed is None or sealed.purpose != "receipt" or sealed.after or not is_sealed_by(sealed, key):
        return None
    return sealed


@dataclass(frozen=True)
class Told:
    """What a genuine receipt says; nothing where it says something that no receipt may say."""

    federation: str
    device: str
    update: bytes
    window: int
    outcome: str
    reason: str
    release: int  # 0 where it is in none
    at: int
    counter: int

    @property
    def is_again(self) -> bool:
        """Whether it answers an update that ended so long ago that nobody knows how."""
        return (self.outcome, self.reason) == ("refused", "already-ended")


@lru_cache(maxsize=1 << 16)
def told(ledger: Ledger, body: bytes) -> Told | None:
    """What this receipt says, if the federation that it names has sealed it."""
    sealed = opened(body)
    named = sealed.message.get("federation") if sealed else None
    found = genuine(ledger, named, body) if isinstance(named, str) else None
    return _told(found.message, found.counter) if found else None


def _told(message: Mapping[str, Any], counter: int) -> Told | None:
    """What a message says, if every field is of its type."""
    outcome = message.get("outcome")
    ending = outcome if isinstance(outcome, dict) else {}
    words = [message.get("device"), ending.get("outcome"), ending.get("reason", "")]
    numbers = [message.get("window"), ending.get("release", 0), message.get("at")]
    update = message.get("update")
    texts, wholes = [one for one in words if isinstance(one, str)], [one for one in numbers if isinstance(one, int)]
    if len(texts) < len(words) or len(wholes) < len(numbers) or not isinstance(update, bytes):
        return None
    (device, word, reason), (window, release, at) = texts, wholes
    return Told(message["federation"], device, update, window, word, reason, release, at, counter)
