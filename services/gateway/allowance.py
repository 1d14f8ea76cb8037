"""How much a single device may say: so many messages at once, and from then on so many a second.

Checking a signature, storing and answering cost a gateway a third of a millisecond. Without a bound one device that
publishes as fast as its line allows takes all of it, and everybody else waits behind. What is beyond the bound is
dropped at a hundredth of that cost; an honest device loses no update by it, as it sends again until it has a receipt.
It acts behind the broker's one queue for the gateway: what fills that queue delays everybody (docs/bad-input.md).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, Literal

AT_ONCE: Final = 1000
"""A full outbox passes in one go: 64 probes, and 64 MiB in at most 747 parts."""

A_SECOND: Final = 100
MOST_KNOWN: Final = 65_536
"""Whoever has been silent for longest is forgotten, and may say as much as a newcomer."""


@dataclass
class _Account:
    """A device's messages that are left, as of an instant in milliseconds, and when it was last told to be quieter."""

    left: float
    at: int
    told: int = 0


@dataclass
class Allowances:
    """The account of each device that spoke lately, the latest last: a token bucket each."""

    at_once: int = AT_ONCE
    a_second: int = A_SECOND
    most_known: int = MOST_KNOWN
    _accounts: OrderedDict[str, _Account] = field(default_factory=OrderedDict, repr=False)

    def spend(self, device: str, now: int) -> Literal["fair", "too much", "and more"]:
        """Take one message off the device's account; `too much` is said once a second, in between `and more`."""
        account = self._accounts.get(device)
        if account is None:
            account = self._accounts[device] = _Account(self.at_once, now)
        self._accounts.move_to_end(device)
        if len(self._accounts) > self.most_known:
            self._accounts.popitem(last=False)
        grown = max(0, now - account.at) * self.a_second / 1000
        account.left, account.at = min(self.at_once, account.left + grown), now
        if account.left >= 1:
            account.left -= 1
            return "fair"
        if 0 <= now - account.told < 1000:  # noqa: PLR2004  # a second
            return "and more"
        account.told = now
        return "too much"
