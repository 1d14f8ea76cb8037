"""Let go of payloads that nobody needs any more, where the word that they are done with was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from services.runtime.payloads import Spool

_AT_ONCE = 500


def sweep(spool: Spool, unneeded: Callable[[Collection[bytes]], set[bytes]]) -> None:
    """Discard what `unneeded` says of all that is in the store; what it does not know may be on its way, and stays."""
    payloads = spool.payloads()
    for first in range(0, len(payloads), _AT_ONCE):
        for update in unneeded(payloads[first : first + _AT_ONCE]):
            spool.discard(update)
