"""What must hold at every step (INVARIANTS), said of the ledger's rows and of what leaves it.

Each claim raises `Broken` with its number and what was seen. They are written from INVARIANTS alone, and look at rows
and bytes; of the code that is explored they use the reading of payloads, and the noise that an auditor takes off.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mizzle.codec import decode_between_services
from mizzle.grid import GAIN, Sparse
from mizzle.messages import Answer, Release
from mizzle.payload import read
from mizzle.plan import Plan
from mizzle.terms import mechanism_of
from tests.exploration.shelf import Page
from tests.exploration.small import Device

MODEL_SIZE = 4


class Broken(BaseException):  # it says what happened
    """A claim does not hold. It is no `Exception`, since the loop that is explored takes those for poison."""

    def __init__(self, claim: str, why: str) -> None:
        """The claim's number in INVARIANTS, and what was seen."""
        super().__init__(f"{claim}: {why}")
        self.claim = claim


def of_a_booking(before: Page, after: Page) -> None:
    """I2, I9, I17 and I18 of the rows before and after one transaction."""
    is_accounted_for(after)
    is_charged_by_key(after)
    is_charged_before_release(after)
    never_changes_what_ended(before, after)
    never_lowers_a_charge(before, after)


def is_accounted_for(page: Page) -> None:
    """I2: admitted = counted + refused + abandoned + open, and every first delivery is one admission."""
    updates = page.rows["updates"]
    ended = [row for row in updates if row["outcome"] != "open"]
    firsts = sum(row["count"] for row in page.rows["deliveries"] if row["kind"] == "first")
    if page.difference or firsts != len(updates) or any(row["receipt"] is None for row in ended):
        raise Broken(
            "I2", f"{firsts} first deliveries, {len(updates)} admitted; the ledger's own sum: {page.difference}"
        )


def is_charged_by_key(page: Page) -> None:
    """I17: a device has spent what the charges of its updates say, each of them once."""
    for row in page.rows["budgets"]:
        spent = {
            state: sum(
                one["loss"] for one in page.rows["charges"] if (one["device"], one["state"]) == (row["device"], state)
            )
            for state in ("reserved", "settled")
        }
        if spent != {"reserved": row["reserved"], "settled": row["settled"]}:
            held = f"its budget says reserved {row['reserved']}, settled {row['settled']}"
            raise Broken("I17", f"the charges of {row['device']} add up to {spent}, {held}")


def is_charged_before_release(page: Page) -> None:
    """I17: whoever is counted in a release has a settled charge that names it; it has the members it says."""
    settled = {row["update"]: row["version"] for row in page.rows["charges"] if row["state"] == "settled"}
    members = [row for row in page.rows["updates"] if row["outcome"] == "counted"]
    free = [row["device"] for row in members if settled.get(row["id"]) != row["version"]]
    if free:
        raise Broken("I17", f"released without a settled charge: {', '.join(free)}")
    if Counter(row["version"] for row in members) != Counter(
        {row["version"]: row["members"] for row in page.rows["releases"]}
    ):
        raise Broken("I9", "a release has other members than the updates that are counted in it")


def never_changes_what_ended(before: Page, after: Page) -> None:
    """I9 and I1: an update that has ended stays as it is, and so do releases and windows that have ended."""
    for table, key, is_over in (
        ("updates", "id", lambda row: row["outcome"] != "open"),
        ("releases", "version", lambda _: True),
        ("windows", "number", lambda row: row["state"] != "open"),
    ):
        now = {row[key]: row for row in after.rows[table]}
        for row in before.rows[table]:
            if is_over(row) and now.get(row[key]) != row:
                raise Broken("I9", f"{table}: what had ended was written again")


def never_lowers_a_charge(before: Page, after: Page) -> None:
    """I18: what is settled stays, and a reservation is void only where its update was abandoned without noise."""
    now = {row["update"]: row for row in after.rows["charges"]}
    outcomes = {row["id"]: row["outcome"] for row in after.rows["updates"]}
    for row in before.rows["charges"]:
        later = now.get(row["update"])
        if later is None or (row["state"] == "settled" and later != row):
            raise Broken("I18", f"the charge of {row['device']} was {row['state']}, now it is gone or another")
        if later["state"] == "void" and outcomes[row["update"]] not in {"abandoned", "refused"}:
            raise Broken("I18", f"the charge of {row['device']} was voided, and its update has not ended")


def of_a_receipt(page: Page, device: Device, sealed: bytes, first: bytes | None) -> None:
    """I1: the ledger has an outcome with these very bytes. I3: it is the receipt that the device has already."""
    row = next((row for row in page.rows["updates"] if row["id"] == device.update), None)
    if row is None or row["receipt"] != sealed:
        held = "no such update" if row is None else f"it {row['outcome']}, with another receipt"
        raise Broken("I1", f"{device.name} got a receipt, and the ledger has {held}")
    if first is not None and first != sealed:
        raise Broken("I3", f"{device.name} got a second receipt with other bytes")


def of_what_is_told(page: Page, bodies: Iterable[bytes]) -> list[Answer]:
    """I17: a model that leaves is in the ledger, with its members charged; what is told besides is given back."""
    told = [decode_between_services(body) for body in bodies]
    released = {row["manifest"] for row in page.rows["releases"]}
    for message in told:
        if isinstance(message, Release) and message.manifest not in released:
            raise Broken("I17", f"version {message.version} left before the ledger had charged for it")
    return [message for message in told if isinstance(message, Answer)]


def of_a_release(page: Page, plan: Plan, payloads: Mapping[bytes, bytes], blob: Any) -> None:
    """I10 with the one-hot oracle: without its noise, a sum is that of its members, each of them once."""
    for release in page.rows["releases"]:
        expected = np.zeros(MODEL_SIZE, np.int64)
        for row in page.rows["updates"]:
            if row["version"] == release["version"]:
                update = read(payloads[row["id"]], plan)
                assert isinstance(update, Sparse)
                expected[update.places] += GAIN * row["weight"] * update.multiplier * update.levels.astype(np.int64)
        noise = mechanism_of(plan).noise(release["noise_key"], GAIN * release["sigma"], MODEL_SIZE)
        if (np.frombuffer(blob(release["total_digest"]), "<i8") - noise != expected).any():
            raise Broken("I10", f"the sum of version {release['version']} is not that of its members")
