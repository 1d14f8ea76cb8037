"""What a device does, in a line for whoever runs it."""

from __future__ import annotations

from mizzle.codec import decode
from mizzle.device.effects import Clear, Effect, Keep, Note, Remember, Train
from mizzle.envelope import unseal
from mizzle.messages import Abandoned, Counted, Identity, Receipt, Refused


def line(effect: Effect) -> str | None:
    """What this effect is to a person; None for what is of no interest."""
    match effect:
        case Remember(identity=sealed):
            return f"belongs to {decode(unseal(sealed).header, Identity).federation}"
        case Train(invitation=invitation):
            return f"trains for window {invitation.window}, from version {invitation.base.version}"
        case Keep(window=window, payload=payload):
            return f"keeps its update for window {window} ({len(payload):,} bytes) until a receipt has come"
        case Clear(receipt=sealed):
            return _receipt(decode(unseal(sealed).header, Receipt))
        case Note(reason=reason):
            return reason
        case _:
            return None


def _receipt(receipt: Receipt) -> str:
    match receipt.outcome:
        case Counted(release=version):
            return f"its update for window {receipt.window} is counted in release {version}"
        case Refused(reason=reason, why=why):
            return f"its update for window {receipt.window} is refused: {reason}{', ' if why else ''}{why}"
        case Abandoned(window=window):
            return f"its update for window {receipt.window} is abandoned: too few came to window {window}"
