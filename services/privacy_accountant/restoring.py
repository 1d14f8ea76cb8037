"""What a restored ledger does until a person lets it go on, and with updates of the time that it does not know.

All that was open in it is ended as if its noise had been drawn (I18): a release that it does not know may hold it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from mizzle import manifest
from mizzle.errors import Unreadable
from services.ledger import audit, budgets, federations, restorations, updates, windows
from services.ledger.restorations import RESTORED, Seen
from services.privacy_accountant.charge import lost
from services.privacy_accountant.closing import given_up

if TYPE_CHECKING:
    from mizzle.messages import Message, Sighting
    from services.privacy_accountant.page import Page

WHY: Final = "the ledger was restored from an older copy, which does not know whether this window was released"

_log = structlog.get_logger()


def end_what_was_open(page: Page) -> list[Message]:
    """The ends of the windows and updates that were open in a ledger when it was restored; nothing the second time."""
    restored = page.restoration()
    if restored is None or restored.closed_at is not None:
        return []
    said: list[Message] = []
    for found in windows.still_open(page.tx, page.federation):
        said += given_up(page, found.window.number, WHY, noise_was_drawn=True)
    waiting = updates.waiting(page.tx, page.federation)
    budgets.settle(page.tx, [row.id for row in waiting])
    said += [page.refuse(row, "restored", lost(row.named_window).why).answer for row in waiting]
    restorations.close(page.tx, page.federation, restored.number, page.now)
    page.forget_windows()
    return said


def sighted(page: Page, sighting: Sighting) -> list[Message]:
    """Mark the ledger if the release that the gateway saw is signed by us, and newer than all that we know."""
    keys = [key.public_key for key in federations.server_keys(page.tx, page.federation) if key.role == "release"]
    try:
        said = manifest.authentic(sighting.manifest, keys, page.federation)
    except Unreadable as error:
        _log.warning("a release that was seen is none of ours", why=str(error))
        return []
    ours, restored = restorations.how_far(page.tx, page.federation), page.restoration()
    if said.version <= max(ours.version, restored.version if restored else 0):
        return []
    why = f"release {said.version} of window {said.window} is out, the newest one here is {ours.version}"
    return _marked(page, Seen(said.version, said.window), why)


def spoken_of(page: Page, window: int) -> list[Message]:
    """Mark the ledger if one of our services speaks of a window that is newer than all that we know.

    It heard of it from a ledger: nothing is said of a window before it is written.
    """
    found, restored = page.newest(), page.restoration()
    newest = found.window.number if found else 0
    if window <= max(newest, restored.window if restored else 0):
        return []
    return _marked(page, Seen(window=window), f"window {window} was open, the newest one here is {newest}")


def _marked(page: Page, seen: Seen, why: str) -> list[Message]:
    _log.critical("this ledger is older than the world: nothing is released until services.ledger resume", why=why)
    act = audit.Act(page.federation, page.now, "privacy_accountant", RESTORED, page.federation, {"why": why})
    restorations.mark(page.tx, page.federation, act, seen)
    page.forget_windows()
    return end_what_was_open(page)
