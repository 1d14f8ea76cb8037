"""What the demo claims, a function each: it gives a sentence for whatever in the evidence contradicts the claim."""

from __future__ import annotations

import hashlib
import json
import math
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Final

from .books import Audit, Charge, Kept, Ledger, Release, Update
from .loss import epsilon, price
from .record import Evidence, is_verified, survivors
from .sealed import RECEIPT, UPDATE, manifest, opened, unpacked

LEAST_ACCURACY: Final = 0.75
LEAST_GAIN: Final = 0.15
LEAST_REJOINED: Final = 2

Claim = Callable[[Evidence], Iterator[str]]


def complaints(found: Evidence) -> list[str]:
    """Everything in the evidence that contradicts the story or an invariant; empty if all of it is true."""
    return [complaint for claim in _STORY for complaint in claim(found)] + contradictions(found)


def contradictions(found: Evidence) -> list[str]:
    """Everything in the evidence that contradicts an invariant, whatever story was played."""
    return [complaint for claim in _INVARIANTS for complaint in claim(found)]


def a_kill_lost_nothing(found: Evidence) -> Iterator[str]:
    """The aggregator was killed with SIGKILL while its window had members, and all are in that window's release."""
    if not any(kill.service == "aggregator" and kill.signal == signal.SIGKILL for kill in found.killed):
        yield "no aggregator was killed with SIGKILL"
    for kill in found.killed:
        lost, window = kill.members - survivors(kill, found.ledger), kill.window
        if not kill.members:
            yield f"the {kill.service} was killed when window {window} had no member"
        if lost:
            yield f"{len(lost)} of {len(kill.members)} members before the kill are not in window {window}'s release"


def enough_rejoined(found: Evidence) -> Iterator[str]:
    """Two devices or more came back after windows without them."""
    if len(found.rejoined) < LEAST_REJOINED:
        yield f"{len(found.rejoined)} devices rejoined after a missed window, at least {LEAST_REJOINED} were to"


def a_norm_was_refused(found: Evidence) -> Iterator[str]:
    """An update that was too long was refused, with the reason."""
    if not any(row.outcome == "refused" and row.reason == "norm" for row in found.ledger.updates.values()):
        yield "no update was refused with reason norm"


def accuracy_was_reached(found: Evidence) -> Iterator[str]:
    """Training together is worth it."""
    if found.accuracy < LEAST_ACCURACY:
        yield f"the accuracy is {found.accuracy:.3f}, below {LEAST_ACCURACY}"
    if found.accuracy < found.accuracy_alone + LEAST_GAIN:
        yield f"the accuracy is {found.accuracy:.3f}, less than {LEAST_GAIN} above {found.accuracy_alone:.3f} alone"


def nothing_is_open(found: Evidence) -> Iterator[str]:
    """Every update and every window has ended, and every outbox is empty."""
    if found.open:
        yield f"{found.open} updates are still open in the ledger"
    for window in found.ledger.windows.values():
        if window.state not in ("released", "abandoned"):
            yield f"window {window.number} is still {window.state}"
    for kept in found.outboxes.waiting:
        yield f"update {_short(kept.id)} still waits in the outbox of {kept.device}"


def updates_are_conserved(found: Evidence) -> Iterator[str]:
    """What was admitted, and what was delivered, is what it came to (I2)."""
    if found.conservation_difference:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(found.ledger.deliveries.items()))
        yield f"conservation is off by {found.conservation_difference}: {found.received} admitted; deliveries: {counts}"


def receipts_are_the_ledgers(found: Evidence) -> Iterator[str]:
    """Each receipt that a device holds is, byte for byte, the one in the ledger (I1)."""
    for kept in found.outboxes.receipts:
        row = found.ledger.updates.get(kept.id)
        if row is None:
            yield f"{kept.device} holds a receipt for update {_short(kept.id)}, which has no row in the ledger"
        elif row.receipt != kept.sealed:
            yield f"the receipt of update {_short(kept.id)} that {kept.device} holds differs from the ledger's"


def every_ending_was_received(found: Evidence) -> Iterator[str]:
    """Each update that has ended left its receipt at its device."""
    held = {(kept.device, kept.id) for kept in found.outboxes.receipts}
    for row in found.ledger.updates.values():
        if row.outcome != "open" and row.receipt is None:
            yield f"update {_short(row.id)} is {row.outcome} in the ledger without a receipt"
        if row.outcome != "open" and (row.device, row.id) not in held:
            yield f"update {_short(row.id)} is {row.outcome}, and {row.device} holds no receipt of it"


def receipts_are_true(found: Evidence) -> Iterator[str]:
    """Each receipt bears the federation's signature and says what the ledger's row says."""
    rows = found.ledger.updates.values()
    in_ledger = [Kept(row.device, row.id, row.receipt) for row in rows if row.receipt is not None]
    for kept in dict.fromkeys((*in_ledger, *found.outboxes.receipts)):
        receipt, row = opened(kept.sealed, RECEIPT), found.ledger.updates.get(kept.id)
        which = f"the receipt of update {_short(kept.id)} of {kept.device}"
        if receipt is None or not receipt.is_by(found.ledger.server_keys.get("receipt", b"")):
            yield f"{which} is forged: the federation's key did not sign it"
        elif row and not _says(receipt.message, row):
            yield f"{which} says {receipt.message.get('outcome')}, the ledger's row says {row.outcome}"


def updates_are_their_devices(found: Evidence) -> Iterator[str]:
    """Each row's id, device and window are those that the device signed (I25)."""
    for row in found.ledger.updates.values():
        sealed = opened(row.sealed, UPDATE)
        if sealed is None or sealed.id != row.id:
            yield f"update {_short(row.id)} is not named by what its device signed: it may be counted twice"
        elif not sealed.is_by(found.ledger.device_keys.get(row.device, b"")):
            yield f"update {_short(row.id)} was not signed by {row.device}"
        elif (sealed.message.get("device"), sealed.message.get("window")) != (row.device, row.named_window):
            yield f"update {_short(row.id)} names another device or window in its signed header than in its row"


def members_count_once(found: Evidence) -> Iterator[str]:
    """A release has the members that the ledger counts in it, and of each device one update a window (I9)."""
    counted = [row for row in found.ledger.updates.values() if row.outcome == "counted"]
    for (device, window), times in Counter((row.device, row.named_window) for row in counted).items():
        if times > 1:
            yield f"{device} is counted {times} times for window {window}: a member is counted twice"
    for row in counted:
        release = found.ledger.releases.get(row.version or 0)
        if release is None or release.window != row.window:
            yield f"update {_short(row.id)} is counted in release {row.version}, which its window {row.window} has not"
    members = Counter(row.version for row in counted)
    for release in found.ledger.releases.values():
        if release.members != members[release.version]:
            counts = members[release.version]
            yield f"release {release.version} has {release.members} members, the ledger counts {counts} in it"


def something_was_released(found: Evidence) -> Iterator[str]:
    """There is a release."""
    if not found.ledger.releases:
        yield "there is no release"


def releases_are_verified(found: Evidence) -> Iterator[str]:
    """Every release is signed, names its model, and is the only one of a released window (I24)."""
    for release in found.ledger.releases.values():
        window = found.ledger.windows.get(release.window)
        if not is_verified(found.ledger, release.version) or _sha256(release.manifest) != release.manifest_digest:
            yield f"release {release.version} does not verify: its manifest is not signed, or names another model"
        if window is None or (window.state, window.version) != ("released", release.version):
            yield f"release {release.version} is said to be of window {release.window}, and that window does not say so"


def the_audit_chain_holds(found: Evidence) -> Iterator[str]:
    """No audit row was edited, dropped, added or moved (I28)."""
    if not found.ledger.audit:
        yield "the audit chain is broken: it has no rows"
    previous = bytes(32)
    for seq, row in enumerate(found.ledger.audit, start=1):
        if row.seq != seq or row.previous != previous or row.hash != _chained(row):
            yield f"the audit chain is broken at row {row.seq} ({row.action} of {row.subject})"
            return
        previous = row.hash


def charges_are_settled(found: Evidence) -> Iterator[str]:
    """Each counted update has a charge that its release settled, and nothing stays reserved (I17, I18)."""
    ledger = found.ledger
    for row in ledger.updates.values():
        charge = ledger.charges.get(row.id)
        if row.outcome == "counted" and charge is None:
            yield f"update {_short(row.id)} of {row.device} is counted and was never charged"
        elif row.outcome == "counted" and charge and not _is_settled(charge, row):
            where = f"{charge.state} for {charge.device} in release {charge.version}"
            yield f"the charge of update {_short(row.id)} is {where}, not settled for {row.device} in {row.version}"
    for charge in ledger.charges.values():
        if charge.update not in ledger.updates:
            yield f"{charge.device} is charged for update {_short(charge.update)}, which has no row in the ledger"
        elif charge.state == "reserved":
            yield f"the charge of update {_short(charge.update)} is still reserved"


def charges_are_the_price(found: Evidence) -> Iterator[str]:
    """What a device was charged for a release is at least what the release cost it (I20).

    Two updates of a device in one sum share its noise, and cost what one of their weights together does.
    """
    weights: Counter[tuple[str, int]] = Counter()
    losses: Counter[tuple[str, int]] = Counter()
    for row in found.ledger.updates.values():
        if row.outcome == "counted" and row.version in found.ledger.releases and row.id in found.ledger.charges:
            weights[row.device, row.version] += row.weight
            losses[row.device, row.version] += found.ledger.charges[row.id].loss
    for (device, version), weight in weights.items():
        release = found.ledger.releases[version]
        wanted = price(weight, int(_window(found.ledger, release.window).get("bound", 0)), release.sigma)
        if losses[device, version] < wanted:
            yield f"a charge of {device} was lowered: {losses[device, version]}, release {version} cost it {wanted}"


def budgets_are_the_charges(found: Evidence) -> Iterator[str]:
    """A device has spent the sum of its charges, no more and no less."""
    ledger = found.ledger
    for state in ("settled", "reserved"):
        sums: Counter[str] = Counter()
        for charge in ledger.charges.values():
            sums[charge.device] += charge.loss if charge.state == state else 0
        for device in sorted(sums.keys() | ledger.budgets.keys()):
            spent = getattr(ledger.budgets[device], state) if device in ledger.budgets else 0
            if spent != sums[device]:
                yield f"the budget of {device} says {spent} {state}, its charges sum to {sums[device]}"


def the_noise_was_planned(found: Evidence) -> Iterator[str]:
    """No release has less noise than the plan promises (I20)."""
    mechanism = json.loads(found.ledger.federation.plan)["privacy"]["mechanism"]
    for release in found.ledger.releases.values():
        body = _window(found.ledger, release.window)
        promised = Fraction(mechanism["fields"]["noise_multiplier"]) * body.get("weight_cap", 0) * body.get("bound", 0)
        if release.sigma < promised:
            yield f"release {release.version} has noise of σ = {release.sigma}, the plan promises {math.ceil(promised)}"


def the_shown_loss_is_true(found: Evidence) -> Iterator[str]:
    """The ε in each manifest is the closed form's for the device that had spent most by then.

    It counts what was reserved as well, so it may lie higher by what was voided since, and by a rounding up to two
    decimals; never lower than what is settled.
    """
    charges = found.ledger.charges.values()
    most = epsilon(_largest((c.device, c.loss) for c in charges), found.delta)
    for release in found.ledger.releases.values():
        settled = ((c.device, c.loss) for c in charges if c.state == "settled" and (c.version or 0) <= release.version)
        least = epsilon(_largest(settled), found.delta)
        shown = _shown(found.ledger, release)
        if shown is None or not least * (1 - _CLOSE) <= shown <= most * (1 + _CLOSE) + _CENT:
            yield f"release {release.version} shows ε = {shown}, the closed form says {least:.6f} (at most {most:.6f})"


_STORY: Final[tuple[Claim, ...]] = (
    a_kill_lost_nothing,
    enough_rejoined,
    a_norm_was_refused,
    accuracy_was_reached,
    something_was_released,
)

_INVARIANTS: Final[tuple[Claim, ...]] = (
    nothing_is_open,
    updates_are_conserved,
    receipts_are_the_ledgers,
    every_ending_was_received,
    receipts_are_true,
    updates_are_their_devices,
    members_count_once,
    releases_are_verified,
    the_audit_chain_holds,
    charges_are_settled,
    charges_are_the_price,
    budgets_are_the_charges,
    the_noise_was_planned,
    the_shown_loss_is_true,
)

_CLOSE: Final = 1e-6
_CENT: Final = 0.01


def _says(receipt: dict[str, Any], row: Update) -> bool:
    outcome = receipt.get("outcome")
    if not isinstance(outcome, dict) or (receipt.get("update"), receipt.get("device")) != (row.id, row.device):
        return False
    if row.outcome == "counted":
        told = (outcome.get("release"), outcome.get("weight"))
        return outcome.get("outcome") == "counted" and told == (row.version, row.weight)
    return outcome.get("outcome") == row.outcome and (row.outcome != "refused" or outcome.get("reason") == row.reason)


def _is_settled(charge: Charge, row: Update) -> bool:
    return (charge.state, charge.version, charge.device) == ("settled", row.version, row.device)


def _chained(row: Audit) -> bytes:
    """SHA-256 of the row as JSON in UTF-8, keys sorted, no spaces."""
    link = {name: value for name, value in vars(row).items() if name != "hash"} | {"previous": row.previous.hex()}
    return _sha256(json.dumps(link, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def _window(ledger: Ledger, number: int) -> dict[str, Any]:
    window = ledger.windows.get(number)
    return (unpacked(window.body) if window else None) or {}


def _shown(ledger: Ledger, release: Release) -> float | None:
    said = manifest(release.manifest, ledger.server_keys.get("release", b"")) or {}
    shown = said.get("privacy", {}).get("epsilon")
    return float(shown) if isinstance(shown, int | float) else None


def _largest(losses: Iterator[tuple[str, int]]) -> int:
    sums: Counter[str] = Counter()
    for device, loss in losses:
        sums[device] += loss
    return max(sums.values(), default=0)


def _sha256(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def _short(update: bytes) -> str:
    return update.hex()[:12]
