"""What a device believes: what the right key signed for this purpose, federation, device and plan, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from mizzle.codec import decode, decode_hint
from mizzle.envelope import Envelope, Purpose, key_id, unseal
from mizzle.errors import Forged, Outdated, Unreadable
from mizzle.messages import Hint, Identity, Invitation, Receipt

if TYPE_CHECKING:
    from collections.abc import Collection

M = TypeVar("M")

_MOST_BYTES = 4096


def invitation_in(body: bytes, identity: Identity) -> Invitation:
    """The invitation that `body` is, if it is for the device with this identity.

    Raises:
        Unreadable: no invitation, or (`Forged`) not signed by an invitation key of the identity, or for another device.
        Outdated: of another plan or parameter epoch.
    """
    envelope, invitation = opened(body, Purpose.INVITATION, _keys(identity, "invitation"), Invitation)
    _refuse_another(invitation.federation, invitation.device, identity)
    if invitation.plan != identity.plan.digest:
        raise Outdated(f"invited by plan {invitation.plan.hex()[:16]}, ours is {identity.plan.digest.hex()[:16]}")
    if not invitation.epoch == envelope.epoch == identity.epoch:
        raise Outdated(
            f"invited in epoch {invitation.epoch}, sealed in epoch {envelope.epoch}, ours is {identity.epoch}"
        )
    return invitation


def receipt_in(body: bytes, identity: Identity) -> Receipt:
    """The receipt that `body` is, if it is for the device with this identity; whichever epoch it was sealed in.

    Raises:
        Unreadable: no receipt, or (`Forged`) not signed by a receipt key of the identity, or for another device.
    """
    _, receipt = opened(body, Purpose.RECEIPT, _keys(identity, "receipt"), Receipt)
    _refuse_another(receipt.federation, receipt.device, identity)
    return receipt


def hint_in(body: bytes) -> Hint:
    """The hint that `body` is. Nobody has signed it, so there is nothing to believe: it may choose what is sent.

    Raises:
        Unreadable: it is none.
    """
    return decode_hint(body)


def receipt_keys(identity: Identity) -> tuple[bytes, ...]:
    """The keys with which the federation signs receipts and identities."""
    return _keys(identity, "receipt")


def opened(body: bytes, purpose: Purpose, keys: Collection[bytes], kind: type[M]) -> tuple[Envelope, M]:
    """The envelope that `body` is, and the message of type `kind` in it, if one of `keys` has signed it for `purpose`.

    Raises:
        Unreadable: it is none, or bytes follow it.
        Forged: sealed for another purpose, by a key that is none of `keys`, or not by that key.
    """
    envelope = unseal(body)
    if envelope.size != len(body):
        raise Unreadable(
            f"an envelope of {envelope.size} bytes was wanted alone, {len(body) - envelope.size} follow it"
        )
    if envelope.purpose is not purpose:
        raise Forged(f"{purpose.name} was wanted, this is sealed for {envelope.purpose.name}")
    for key in keys:
        if key_id(key) == envelope.key_id:
            envelope.verify(key)
            return envelope, decode(envelope.header, kind, _MOST_BYTES)
    raise Forged(f"key {envelope.key_id.hex()} may not sign for {purpose.name} in this federation")


def _keys(identity: Identity, role: str) -> tuple[bytes, ...]:
    return tuple(key.public_key for key in identity.keys if key.role == role)


def _refuse_another(federation: str, device: str, identity: Identity) -> None:
    if (federation, device) != (identity.federation, identity.device):
        raise Forged(f"said to {device} in {federation}, this is {identity.device} in {identity.federation}")
