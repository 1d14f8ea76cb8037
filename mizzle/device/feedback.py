"""What a codec lost of one change is added to the next one: error feedback, for codecs that say they need it.

What is carried over counts towards the clip together with the new change, so an update is worth as little as any
other. It is kept in the outbox in the same transaction as the update it was lost from (float32, little-endian, (d,)),
and never leaves the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mizzle.grid import clip, value
from mizzle.payload import read
from mizzle.terms import codec_of, grid_of

if TYPE_CHECKING:
    from mizzle.grid import Vector
    from mizzle.messages import Invitation
    from mizzle.plan import Plan


def carried(change: Vector, lost: bytes, plan: Plan) -> Vector:
    """The change (d,) with what was lost before, clipped; what another plan's codec lost does not fit and is let go."""
    if codec_of(plan).error_feedback and len(lost) == 4 * change.size:
        change = change + np.frombuffer(lost, "<f4")
    return clip(change, plan.update.clip)


def still_lost(wanted: Vector, payload: bytes, plan: Plan, invitation: Invitation) -> bytes:
    """What `payload` lacks of the change that was `wanted`; nothing for a codec that makes up for it by itself."""
    if not codec_of(plan).error_feedback:
        return b""
    sent = value(grid_of(plan), read(payload, plan), invitation.seed)
    return (wanted - sent).astype("<f4").tobytes()
