"""What befalls a device of the demo befalls it where it can be seen."""

import json

import numpy as np
import pytest

from mizzle.grid import value
from mizzle.messages import Invitation
from mizzle.payload import read
from mizzle.terms import grid_of
from services.local.fleet import FACTOR, Fleet, Misfortunes, Wrist, times_minus
from tests.mizzle.device.federation import Federation

BARN = Federation()
HOSTILE = Wrist(name="pump-7", script="", environment={}, hostile_in_window=2)


def sent(*norms: float) -> list[bool]:
    """Whether a hostile device's change of this norm went out as the library makes it, window by window."""
    misfortunes, honest = Misfortunes(Fleet(broker_port=0, away_windows=0, wrists=(HOSTILE,))), []
    for window, norm in enumerate(norms, start=1):
        change = np.zeros(BARN.plan.model.parameters)
        change[0] = norm
        payload = misfortunes.encode(HOSTILE, change, BARN.plan, invitation(window))
        honest.append(is_along(payload))
    return honest


def invitation(window: int) -> Invitation:
    return BARN.invite("pump-7", window)


def is_along(payload: bytes) -> bool:
    """Whether the first parameter grows by this update."""
    return bool(value(grid_of(BARN.plan), read(payload, BARN.plan), invitation(1).seed)[0] >= 0)


def test_a_hostile_device_waits_for_a_change_that_is_too_long_once_it_is_multiplied(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Else nothing is refused, and the story that is told of it is not true."""
    assert sent(0.5, 0.0, 0.01, 0.5, 0.5) == [True, True, True, False, True]
    assert json.loads(capsys.readouterr().out) == {
        "event": "hostile", "device": "pump-7", "window": 4, "factor": -FACTOR,
    }  # fmt: skip


def test_a_payload_times_minus_one_is_the_same_update_the_other_way() -> None:
    payload = bytes([9, 0, 0, 0, 0b1010_0101])
    assert times_minus(1, times_minus(1, payload)) == payload != times_minus(1, payload)
