"""Which of a device's counters have ended: a high-water mark and a bitmap below it, as IPsec keeps them [RFC 6479].

A device signs each message under a counter that it never uses again, and numbers are left out whenever it starts. So
the highest counter alone tells nothing of those below it, and a bit for each of the newest `SPAN` does. What lies
further back is not known any more, and counts as ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

SPAN: Final = 8192
"""So many counters up to the mark are told apart: a kilobyte a device."""

MOST: Final = 2**63 - 1
"""What a ledger's column holds; a higher counter is held for this one."""


@dataclass(frozen=True)
class Marks:
    """The highest counter that has ended, and for each of those below it, back to `SPAN`, whether it has.

    Bit k of `bits` is the counter mark - k.
    """

    mark: int
    bits: int

    @classmethod
    def read(cls, mark: int, body: bytes) -> Self:
        """What `body` was written from."""
        return cls(mark, int.from_bytes(body, "big"))

    @property
    def body(self) -> bytes:
        """The bits as bytes, at most SPAN / 8 of them."""
        return self.bits.to_bytes(-(-self.bits.bit_length() // 8), "big")

    def ending(self, counter: int) -> Marks:
        """The same once `counter` has ended, too."""
        counter = min(counter, MOST)
        if counter <= self.mark:
            return Marks(self.mark, self.bits | _bit(self.mark - counter))
        ahead = counter - self.mark
        kept = self.bits << ahead & (1 << SPAN) - 1 if ahead < SPAN else 0
        return Marks(counter, kept | 1)

    def has_ended(self, counter: int) -> bool:
        """Whether `counter` has ended, or lies so far back that it is not known any more."""
        behind = self.mark - min(counter, MOST)
        return behind >= SPAN or (behind >= 0 and bool(self.bits >> behind & 1))


NOTHING: Final = Marks(-1, 0)
"""No counter has ended."""


def _bit(behind: int) -> int:
    return 1 << behind if behind < SPAN else 0
