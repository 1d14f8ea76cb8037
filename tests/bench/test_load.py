"""What the bench sends is what a device would send."""

import hashlib

import pytest

from bench.load import Load, bodies, key_of, load_of, plan_of
from mizzle.errors import Misconfigured
from mizzle.grid import fits
from mizzle.terms import bound_of, codec_of, grid_of


def test_the_last_window_is_as_full_as_the_others() -> None:
    assert (load_of(100, 4, 3000, 1000).windows, load_of(100, 4, 50, 1000).window) == (3, 50)
    with pytest.raises(Misconfigured, match="3001 updates in windows of 1000"):
        load_of(100, 4, 3001, 1000)


def test_every_device_is_in_every_window_and_has_a_key_of_its_own() -> None:
    load = Load(elements=100, bits=4, updates=40, window=20)
    plan, _ = plan_of(load)
    assert (plan.window.invited, plan.window.goal, plan.window.quorum, plan.window.windows) == (20, 20, 20, 2)
    assert len({key_of(device).public_key for device in load.devices}) == 20


def test_the_payloads_differ_and_each_is_one_that_the_services_count() -> None:
    plan, _ = plan_of(Load(elements=1000, bits=4, updates=10, window=10))
    made = bodies(plan, 4)
    assert len({body.payload for body in made}) == 4
    for body in made:
        levels = codec_of(plan).decode(body.payload, grid_of(plan))
        assert levels.multiplier > 0
        assert fits(levels.multiplier, levels.sum_of_squares, bound_of(plan))
        assert hashlib.sha256(body.payload).digest() == body.digest
